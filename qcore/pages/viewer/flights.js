// Messages on their way, drawn on a canvas over the cluster: a mark for each, and its contents where there is room.

import { colours, pen } from "../shared/dom.js";
import { CLASSES, classOf, shortContents } from "../shared/raft_words.js";

const MOST_FLIGHTS = 500;
const MOST_FLIGHT_LABELS = 14;
const LANE_SHIFT = 5;          // messages in opposite directions do not meet
const LOSS_US = 3000;     // how long a loss stays visible at least, in time of the run
const LOSS_S = 0.5;       // and in time of the user

/** Draw the mark of a class of messages around a point. */
export function drawMark(context, kind, x, y, size = 5) {
  const { mark, hollow, colour } = CLASSES[kind];
  const ink = colours()[colour];
  context.beginPath();
  if (mark === "triangle") {
    context.moveTo(x, y - size * 1.2);
    context.lineTo(x + size * 1.15, y + size * 0.9);
    context.lineTo(x - size * 1.15, y + size * 0.9);
    context.closePath();
  } else if (mark === "square") {
    context.rect(x - size, y - size, size * 2, size * 2);
  } else if (mark === "diamond") {
    context.moveTo(x, y - size * 1.25);
    context.lineTo(x + size * 1.25, y);
    context.lineTo(x, y + size * 1.25);
    context.lineTo(x - size * 1.25, y);
    context.closePath();
  } else {
    context.arc(x, y, mark === "dot" ? size * 0.62 : size, 0, Math.PI * 2);
  }
  context.lineWidth = hollow ? 2 : 1.5;
  context.fillStyle = hollow ? colours().panel : ink;
  context.strokeStyle = hollow ? ink : colours().halo;
  context.fill();
  context.stroke();
}

/** Draw the cross of a lost message. */
export function drawLoss(context, x, y, size = 5) {
  for (const [colour, width] of [[colours().halo, 5], [colours().lost, 2.2]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(x - size, y - size);
    context.lineTo(x + size, y + size);
    context.moveTo(x + size, y - size);
    context.lineTo(x - size, y + size);
    context.stroke();
  }
}

/** The line that a message follows from node to node: beside the straight one, so that both directions have room. */
function path(places, radius, source, target) {
  const a = places.get(source), b = places.get(target);
  if (!a || !b || a === b) return null;
  const length = Math.hypot(b.x - a.x, b.y - a.y) || 1;
  const ux = (b.x - a.x) / length, uy = (b.y - a.y) / length;
  const gap = radius + 7;
  const sx = -uy * LANE_SHIFT, sy = ux * LANE_SHIFT;
  return {
    x: (share) => a.x + sx + ux * (gap + (length - 2 * gap) * share),
    y: (share) => a.y + sy + uy * (gap + (length - 2 * gap) * share),
  };
}

/** How far a message has come, 0 to 1. One that never arrives slows down before its target. */
function shareAt(flight, t) {
  if (flight.end === Infinity || flight.outcome === 2) {
    const passed = Math.max(0, t - flight.sent) / 10_000;
    return 0.9 * passed / (1 + passed);
  }
  return Math.max(0, Math.min(1, (t - flight.sent) / Math.max(1, flight.end - flight.sent)));
}

/** The messages that are on their way, newest last. */
export function flightsOf(state) {
  const found = [];
  for (const flight of state.flights.values()) {
    if (flight.sent <= state.t && (flight.end > state.t || flight.end === state.t)) found.push(flight);
  }
  return found;
}

/** The losses that are still shown: those with a record, and those without one, such as of messages to a killed node. */
export function lossesOf(state, rate) {
  const stays = Math.max(LOSS_US, LOSS_S * rate * 1e6);
  const unrecorded = [...state.flights.values()].filter((each) => each.outcome === 1 && each.end < state.t)
    .map((each) => ({ ...each, t: each.end, why: "" }));
  return [...state.losses, ...unrecorded].filter((each) => state.t - each.t <= stays);
}

function overlaps(box, boxes) {
  return boxes.some((each) => box.x < each.x + each.w && each.x < box.x + box.w && box.y < each.y + each.h && each.y < box.y + box.h);
}

/** Draw all messages. Returns where each is, for the pointer. */
export function drawFlights(canvas, { places, radius, taken, width, height }, state, rate) {
  const { context } = pen(canvas, width, height);
  const ink = colours();
  const flights = flightsOf(state), spots = [];
  const shown = flights.slice(-MOST_FLIGHTS);
  for (const flight of shown) {
    const line = path(places, radius, flight.source, flight.target);
    if (!line) continue;
    const share = shareAt(flight, state.t);
    spots.push({ flight, x: line.x(share), y: line.y(share), kind: classOf(flight.name, flight.note) });
  }
  const losses = [];
  for (const loss of lossesOf(state, rate)) {
    const line = path(places, radius, loss.source, loss.target);
    if (!line) continue;
    const share = loss.t - loss.sent > 1 ? 0.94 : 0.42;
    losses.push({ loss, x: line.x(share), y: line.y(share) });
  }
  const boxes = [...taken, ...spots.map(({ x, y }) => ({ x: x - 6, y: y - 6, w: 12, h: 12 }))];
  context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
  context.textBaseline = "middle";
  if (spots.length <= MOST_FLIGHT_LABELS) for (const spot of spots) label(context, spot, boxes, width, height, ink);
  for (const spot of spots) drawMark(context, spot.kind, spot.x, spot.y);
  for (const spot of losses) {
    context.globalAlpha = 0.55;
    drawMark(context, classOf(spot.loss.name, spot.loss.note), spot.x, spot.y);
    context.globalAlpha = 1;
    drawLoss(context, spot.x, spot.y);
  }
  return { spots, losses, hidden: flights.length - shown.length };
}

function label(context, spot, boxes, width, height, ink) {
  const text = shortContents(spot.flight.name, spot.flight.note, spot.flight.term);
  const w = context.measureText(text).width + 6, h = 15;
  const tries = [[9, -h / 2], [-w - 9, -h / 2], [-w / 2, -h - 8], [-w / 2, 8]];
  for (const [dx, dy] of tries) {
    const box = { x: spot.x + dx, y: spot.y + dy, w, h };
    const own = { x: spot.x - 6, y: spot.y - 6 };
    if (box.x < 0 || box.y < 0 || box.x + w > width || box.y + h > height) continue;
    if (overlaps(box, boxes.filter((each) => each.x !== own.x || each.y !== own.y))) continue;
    boxes.push(box);
    context.globalAlpha = 0.85;
    context.fillStyle = ink.panel;
    context.fillRect(box.x, box.y, w, h);
    context.globalAlpha = 1;
    context.fillStyle = ink.text;
    context.textAlign = "left";
    context.fillText(text, box.x + 3, box.y + h / 2 + 0.5);
    return;
  }
}

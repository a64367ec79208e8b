// The axis of time: what pixel a time has, and where the axis has marks.


/** A step of 1, 2 or 5 times a power of ten that is at least `least`. */
export function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  const factor = [1, 2, 5, 10].find((each) => each * power >= least - 1e-9);
  return Math.max(1, factor * power);
}

/** Maps the times from `from` to `to` (µs) to the pixels from `left` to `right`. */
export function timeScale(from, to, left, right) {
  const factor = (right - left) / Math.max(1, to - from);
  return {
    from, to, left, right, factor,
    x: (t) => left + (t - from) * factor,
    t: (x) => from + (x - left) / factor,
    inside: (t) => t >= from && t <= to,
  };
}

/** The marks of an axis: times with texts, in seconds since `origin`, at least `gap` pixels apart. */
export function ticks(scale, origin, gap = 84) {
  const step = niceStep(gap / scale.factor);
  const places = Math.max(0, Math.min(6, 6 - Math.floor(Math.log10(step))));
  const found = [];
  for (let t = Math.ceil((scale.from - origin) / step) * step; t + origin <= scale.to; t += step) {
    found.push({ t: t + origin, text: `${(t / 1e6).toFixed(places)} s` });
  }
  return found;
}

/** Places texts on the fewest lines on which they do not overlap. Each gets a `line`; -1 if none of `most` has room. */
export function placeTexts(texts, most, left, right) {
  const ends = [];
  for (const each of texts) {
    each.x = Math.max(left, Math.min(each.x, right - each.width));
    each.line = -1;
    for (let line = 0; line < most; line += 1) {
      if ((ends[line] ?? -Infinity) + 6 <= each.x) {
        each.line = line;
        ends[line] = each.x + each.width;
        break;
      }
    }
  }
  return texts;
}

// The raft library of etcd alone, measured like `benchmarks.bench_core`: three servers in one process, without disk or
// network, PreVote and CheckQuorum on. Prints the figures as JSON.
//
// Every event is one step of a server, whose output is handled before the next event, as in bench_core. What differs:
// the library has no separate event for a finished write, because its user hands it over with Advance.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run main.go [COMMANDS]
package main

import (
	"encoding/json"
	"fmt"
	"io/ioutil"
	"log"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"go.etcd.io/etcd/raft"
	pb "go.etcd.io/etcd/raft/raftpb"
)

const (
	group   = 64
	repeats = 5
	size    = 100
)

type cluster struct {
	nodes     map[uint64]*raft.RawNode
	storage   map[uint64]*raft.MemoryStorage
	queue     []pb.Message
	committed uint64
	reads     int
	steps     int
}

func newCluster() *cluster {
	c := &cluster{nodes: map[uint64]*raft.RawNode{}, storage: map[uint64]*raft.MemoryStorage{}}
	for id := uint64(1); id <= 3; id++ {
		storage := raft.NewMemoryStorage()
		snapshot := pb.Snapshot{}
		snapshot.Metadata.Index, snapshot.Metadata.Term = 1, 1
		snapshot.Metadata.ConfState = pb.ConfState{Voters: []uint64{1, 2, 3}}
		check(storage.ApplySnapshot(snapshot))
		node, err := raft.NewRawNode(&raft.Config{
			ID: id, ElectionTick: 10, HeartbeatTick: 1, Storage: storage, Applied: 1,
			MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 256, PreVote: true, CheckQuorum: true,
			Logger: &raft.DefaultLogger{Logger: log.New(ioutil.Discard, "", 0)},
		})
		check(err)
		c.nodes[id], c.storage[id] = node, storage
	}
	check(c.nodes[1].Campaign())
	c.ready(1)
	c.settle()
	if c.nodes[1].BasicStatus().RaftState != raft.StateLeader {
		fail("server 1 does not lead")
	}
	return c
}

// ready handles what a server wants after a step: entries are stored, then messages are sent.
func (c *cluster) ready(id uint64) {
	c.steps++
	node, storage := c.nodes[id], c.storage[id]
	for node.HasReady() {
		ready := node.Ready()
		if !raft.IsEmptyHardState(ready.HardState) {
			check(storage.SetHardState(ready.HardState))
		}
		check(storage.Append(ready.Entries))
		c.queue = append(c.queue, ready.Messages...)
		if id == 1 {
			c.committed += uint64(len(ready.CommittedEntries))
			c.reads += len(ready.ReadStates)
		}
		node.Advance(ready)
	}
}

// settle delivers messages until none is left.
func (c *cluster) settle() {
	for at := 0; at < len(c.queue); at++ {
		message := c.queue[at]
		_ = c.nodes[message.To].Step(message)
		c.ready(message.To)
	}
	c.queue = c.queue[:0]
}

func (c *cluster) propose(data []byte) {
	check(c.nodes[1].Propose(data))
	c.ready(1)
}

func oneAtATime(c *cluster, command []byte) int {
	c.propose(command)
	c.settle()
	return 1
}

func pipelined(c *cluster, command []byte) int {
	for n := 0; n < group; n++ {
		c.propose(command)
	}
	c.settle()
	return group
}

func reads(c *cluster, command []byte) int {
	for n := 0; n < group; n++ {
		c.nodes[1].ReadIndex([]byte(strconv.Itoa(n)))
		c.ready(1)
	}
	c.settle()
	return group
}

func processorSeconds() float64 {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	of := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return of(usage.Utime) + of(usage.Stime)
}

// measure is the best of several runs by processor time, which includes that of the collector.
func measure(work func(*cluster, []byte) int, operations int, writes bool) float64 {
	command := []byte(strings.Repeat("x", size))
	best := 0.0
	for round := 0; round < repeats; round++ {
		c := newCluster()
		runtime.GC()
		before, done := c.committed, 0
		start := processorSeconds()
		for done < operations {
			done += work(c, command)
		}
		rate := float64(done) / (processorSeconds() - start)
		if writes && c.committed-before != uint64(done) {
			fail(fmt.Sprintf("%d of %d commands are committed", c.committed-before, done))
		}
		if !writes && c.reads != done {
			fail(fmt.Sprintf("%d of %d reads are confirmed", c.reads, done))
		}
		if rate > best {
			best = rate
		}
	}
	return best
}

func check(err error) {
	if err != nil {
		fail(err.Error())
	}
}

func fail(text string) {
	fmt.Fprintln(os.Stderr, text)
	os.Exit(1)
}

func main() {
	operations := 200000
	if len(os.Args) > 1 {
		given, err := strconv.Atoi(os.Args[1])
		check(err)
		operations = given
	}
	figures := map[string]interface{}{
		"go":            runtime.Version(),
		"one_at_a_time": measure(oneAtATime, operations, true),
		"pipelined":     measure(pipelined, operations, true),
		"reads":         measure(reads, operations, false),
	}
	check(json.NewEncoder(os.Stdout).Encode(figures))
}

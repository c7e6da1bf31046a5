package main

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
)

// A Fate is which of the writes since the last flush the disk kept.
type Fate struct {
	name string
	keep float64 // the probability that a piece of a write was kept
}

var fates = []Fate{{"none", 0}, {"half", 0.5}, {"all", 1}, {"a tenth", 0.1}, {"nine tenths", 0.9}}

// A State is a disk as it may be found after the power failed.
type State struct {
	Disk  *Disk
	Marks []Mark // those made before
	name  string
}

// States yields n states of the disk that h tells of. In each the power failed
// at another moment: what had been written by the last flush is there, and of
// what came later as much as a fate has it, by pages of 4096 octets.
func (h *History) States(n int, seed uint64) iter.Seq[State] {
	random := rand.New(rand.NewPCG(seed, 0))
	moments := h.moments(n, random)
	return func(yield func(State) bool) {
		durable, flushed := slices.Clone(h.start), 0
		var marks []Mark
		marked := 0
		for i, moment := range moments {
			for ; marked < moment; marked++ {
				if m := h.events[marked].mark; m != nil {
					marks = append(marks, *m)
				}
			}
			flushed = h.advance(durable, flushed, moment)
			fate := fates[random.IntN(len(fates))]
			pages := h.fail(durable, flushed, moment, fate, random)
			s := State{
				Disk:  &Disk{pages: pages, first: slices.Clone(pages)},
				Marks: slices.Clone(marks),
				name:  fmt.Sprintf("state %d: event %d of %d, %s of the %d after the flush", i, moment, len(h.events), fate.name, moment-flushed),
			}
			if !yield(s) {
				return
			}
		}
	}
}

// moments returns n moments in their order: half of them just after a message was
// acknowledged, when the promise is fresh, and half of them anywhere.
func (h *History) moments(n int, random *rand.Rand) []int {
	var acks []int
	for i, e := range h.events {
		if e.mark != nil && e.mark.Acked {
			acks = append(acks, i+1)
		}
	}
	moments := make([]int, n)
	for i := range moments {
		moments[i] = random.IntN(len(h.events) + 1)
		if i%2 == 0 && len(acks) > 0 {
			moments[i] = acks[random.IntN(len(acks))]
		}
	}
	slices.Sort(moments)
	return moments
}

// advance does to pages what was written from event from on up to the last flush
// before moment, and returns the event after that flush.
func (h *History) advance(pages []*page, from, moment int) int {
	last := moment
	for last > from && !h.events[last-1].flush {
		last--
	}
	for _, e := range h.events[from:last] {
		for piece := range pieces(e) {
			apply(pages, piece)
		}
	}
	return last
}

// fail returns durable with what fate keeps of the events from flushed to moment.
func (h *History) fail(durable []*page, flushed, moment int, fate Fate, random *rand.Rand) []*page {
	pages := slices.Clone(durable)
	for _, e := range h.events[flushed:moment] {
		for piece := range pieces(e) {
			if random.Float64() < fate.keep {
				apply(pages, piece)
			}
		}
	}
	return pages
}

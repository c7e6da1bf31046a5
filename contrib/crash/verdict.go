package main

import "fmt"

// A Verdict is what is wrong in crash states.
type Verdict struct {
	States    int
	Bad       int // states in which anything is wrong
	Looked    int // how often an acknowledged message was looked for
	Lost      int // of those, not there
	Partial   int // in sight of a reader, and not whole
	Unmounted int // states that could not be mounted
	Unserved  int // states in which the daemon did not serve again
	Doubled   int // messages that were sent again, as nobody had heard of them, and are there twice: allowed
	First     string
}

func (v *Verdict) wrong(count *int, format string, args ...any) {
	*count++
	if v.First == "" {
		v.First = fmt.Sprintf(format, args...)
	}
}

// add adds the verdict of a state.
func (v *Verdict) add(state string, of Verdict) {
	v.States++
	v.Looked += of.Looked
	v.Lost += of.Lost
	v.Partial += of.Partial
	v.Unmounted += of.Unmounted
	v.Unserved += of.Unserved
	v.Doubled += of.Doubled
	if of.First == "" {
		return
	}
	v.Bad++
	if v.First == "" {
		v.First = fmt.Sprintf("%s: %s", state, of.First)
	}
}

// compare says what found lacks of promised, and what is not whole in it.
func (v *Verdict) compare(found *Found, promised []Mark) {
	for _, p := range promised {
		v.Looked++
		if found.whole[Copy{p.Message, placeOf(p.To)}] == 0 {
			v.wrong(&v.Lost, "message %s to %s is lost", p.Message, p.To)
		}
	}
	for _, place := range found.partial {
		v.wrong(&v.Partial, "partial: %s", place)
	}
}

func (v *Verdict) String() string {
	s := fmt.Sprintf("%4d states, %7d acknowledged looked for: %d lost, %d partial", v.States, v.Looked, v.Lost, v.Partial)
	if v.Doubled > 0 {
		s += fmt.Sprintf(", %d twice", v.Doubled)
	}
	if v.Unmounted > 0 {
		s += fmt.Sprintf(", %d not mounted", v.Unmounted)
	}
	if v.Unserved > 0 {
		s += fmt.Sprintf(", %d not served", v.Unserved)
	}
	if v.Bad > 0 {
		s += fmt.Sprintf(" (in %d states)", v.Bad)
	}
	return s
}

// split returns what was acknowledged, and what was not though it was sent.
func split(marks []Mark) (promised, unheard []Mark) {
	acked := make(map[Mark]bool)
	for _, m := range marks {
		if m.Acked {
			acked[m] = true
			promised = append(promised, m)
		}
	}
	for _, m := range marks {
		if !m.Acked && !acked[Mark{m.Message, m.To, true}] {
			unheard = append(unheard, m)
		}
	}
	return promised, unheard
}

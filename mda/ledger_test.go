package mda_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/delivertest"
	"postern/mail"
	"postern/mda"
)

var silent = slog.New(slog.DiscardHandler)

// openLedger opens the ledger in dir in front of next until the test ends.
func openLedger(t testing.TB, dir string, next mail.Deliverer) *mda.Ledger {
	t.Helper()
	l := mda.OpenLedger(filepath.Join(dir, "delivered"), 1000, next, silent)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// try delivers text as the transaction id, and wants replies of these classes.
func try(t testing.TB, d mail.Deliverer, id, text string, to []string, classes ...int) {
	t.Helper()
	env := envelope(to...)
	env.ID = id
	replies := mail.Deliver(t.Context(), d, env, message(text))
	for i, r := range replies {
		if r.Code/100 != classes[i] {
			t.Errorf("%s for %s: %v, want %dxx", id, to[i], r, classes[i])
		}
	}
}

// has wants n messages in a mailbox.
func (s *store) has(t testing.TB, box string, n int) {
	t.Helper()
	if got := len(s.delivered(box)); got != n {
		t.Errorf("%s has %d messages, want %d", box, got, n)
	}
}

// The whole stack is a Deliverer like any other.
func TestLedgerConformance(t *testing.T) {
	delivertest.Run(t, func(t *testing.T) *delivertest.Subject {
		s := &store{fail: func(box, step string) error {
			if box == "flaky" {
				return errors.New("input/output error")
			}
			return nil
		}}
		ledger := openLedger(t, t.TempDir(), newAgent(s))
		return &delivertest.Subject{
			Deliverer: &mda.InStep{
				Deliverer: mda.Aliases{Deliverer: ledger, Expand: expand},
				Current:   func() string { return "1" }, CatchUp: func(string) error { return nil },
			},
			Delivered: func(rcpt mail.Address) []string { return s.delivered(rcpt.Local) },
			Ann:       address("ann"), Bob: address("bob"), Nobody: address("nobody"), Flaky: address("flaky"),
		}
	})
}

// expand knows what newAgent does.
func expand(_ string, addr mail.Address) ([]mail.Address, error) {
	switch addr.Local {
	case "team":
		return []mail.Address{address("ann"), address("bob")}, nil
	case "half":
		return []mail.Address{address("ann"), address("flaky")}, nil
	case "nobody":
		return nil, mail.NoSuchUser
	}
	return []mail.Address{addr}, nil
}

// After a mixed end, the retry serves only those who have nothing.
func TestRetryServesTheOthers(t *testing.T) {
	broken := true
	s := &store{fail: func(box, step string) error {
		if box == "flaky" && broken {
			return errors.New("input/output error")
		}
		return nil
	}}
	l := openLedger(t, t.TempDir(), newAgent(s))
	to := []string{"ann", "flaky", "nobody", "bob"}
	try(t, l, "1", "text", to, 2, 4, 5, 2)
	try(t, l, "2", "text", to, 2, 4, 5, 2)
	broken = false
	try(t, l, "3", "text", to, 2, 2, 5, 2)
	try(t, l, "4", "text", to, 2, 2, 5, 2)
	for _, box := range []string{"ann", "flaky", "bob"} {
		s.has(t, box, 1)
	}
}

// Nothing but the same octets from the same sender to the same recipient is the
// same message.
func TestWhatIsTheSame(t *testing.T) {
	s := new(store)
	l := openLedger(t, t.TempDir(), newAgent(s))
	try(t, l, "1", "text", []string{"ann"}, 2)
	try(t, l, "2", "text", []string{"bob"}, 2)
	try(t, l, "3", "Text", []string{"ann"}, 2)
	s.has(t, "ann", 2)
	s.has(t, "bob", 1)

	env := envelope("ann")
	env.From.Local = "another"
	deliver := func() {
		if r := l.Deliver(t.Context(), env, message("text").Prepend("Received: "+env.ID+"\r\n")); !r[0].OK() {
			t.Error(r)
		}
	}
	deliver()
	s.has(t, "ann", 3)
	env.ID = "4" // a field of ours on top makes no other message
	deliver()
	s.has(t, "ann", 3)
	env.Digest = mail.Digest{1} // what the client sent counts, not what came here
	deliver()
	s.has(t, "ann", 4)
	env.ID = "5"
	if r := l.Deliver(t.Context(), env, message("text with the MX's field")); !r[0].OK() {
		t.Error(r)
	}
	s.has(t, "ann", 4)
}

// A message that is sent again on purpose, after its 250 was heard, is delivered
// again.
func TestHeard(t *testing.T) {
	s := new(store)
	l := openLedger(t, t.TempDir(), newAgent(s))
	try(t, l, "1", "text", []string{"ann", "bob"}, 2, 2)
	l.Heard("1")
	try(t, l, "2", "text", []string{"ann"}, 2)
	s.has(t, "ann", 2)
	s.has(t, "bob", 1)
	// The reply to a retry is for all of its recipients.
	try(t, l, "3", "text", []string{"ann", "bob"}, 2, 2)
	s.has(t, "ann", 2)
	s.has(t, "bob", 2)
	l.Heard("3")
	l.Heard("unknown")
	if n := l.Len(); n != 0 {
		t.Errorf("%d remembered", n)
	}
	try(t, l, "4", "text", []string{"ann", "bob"}, 2, 2)
	s.has(t, "ann", 3)
	s.has(t, "bob", 3)
	l.Heard("2") // which was struck with 3
	try(t, l, "5", "text", []string{"ann"}, 2)
	s.has(t, "ann", 3)
}

// The retry may be delivered first, and its 250 heard, while the attempt that
// nobody listens to any more is still under way.
func TestHeardBeforeTheFirstEnds(t *testing.T) {
	s, dir := new(store), t.TempDir()
	l := openLedger(t, dir, newAgent(s))
	for i := range 20 {
		try(t, l, fmt.Sprint("retry", i), "text", []string{"ann"}, 2)
		for k := range 10 {
			try(t, l, fmt.Sprintf("late%d.%d", i, k), "text", []string{"ann"}, 2)
		}
		if i%2 == 0 {
			l = openLedger(t, dir, newAgent(s))
		}
		l.Heard(fmt.Sprintf("late%d.7", i))
		s.has(t, "ann", i+1)
	}
	if n := l.Len(); n != 0 {
		t.Errorf("%d remembered", n)
	}
}

// What is remembered is remembered after a restart, and what was struck is not.
func TestLedgerRestart(t *testing.T) {
	s, dir := new(store), t.TempDir()
	l := openLedger(t, dir, newAgent(s))
	try(t, l, "1", "one", []string{"ann", "bob"}, 2, 2)
	try(t, l, "2", "two", []string{"ann"}, 2)
	l.Heard("2")
	_ = l.Close()
	for range 2 { // a restart must not forget what the one before it kept
		l = openLedger(t, dir, newAgent(s)) // the old one was never closed the second time
		if n := l.Len(); n != 2 {
			t.Fatalf("%d remembered, want 2", n)
		}
	}
	try(t, l, "3", "one", []string{"ann", "bob"}, 2, 2)
	try(t, l, "4", "two", []string{"ann"}, 2)
	s.has(t, "ann", 3)
	s.has(t, "bob", 1)
	l.Heard("3")
	_ = l.Close()
	l = openLedger(t, dir, newAgent(s))
	try(t, l, "5", "one", []string{"ann"}, 2)
	s.has(t, "ann", 4)
}

// An entry is in the file before the reply is given: a kill takes none. A strike
// is there with the next entry, or after a second.
func TestStrikesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "delivered")
		l := openLedger(t, dir, newAgent(new(store)))
		wants := func(lines ...string) {
			t.Helper()
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
			for i, line := range got {
				got[i] = line[:1] + line[strings.Index(line, "tx"):][:3] // sign and transaction
			}
			if !slices.Equal(got, lines) {
				t.Errorf("%q in the file, want %q", got, lines)
			}
		}
		try(t, l, "tx1", "one", []string{"ann"}, 2)
		l.Heard("tx1")
		wants("+tx1")
		try(t, l, "tx2", "two", []string{"ann"}, 2)
		wants("+tx1", "-tx1", "+tx2")
		l.Heard("tx2")
		time.Sleep(time.Second)
		synctest.Wait()
		wants("+tx1", "-tx1", "+tx2", "-tx2")
	})
}

// Of two equal messages at once the second waits for the first, and is delivered
// only if that failed; an other one does not wait.
func TestSecondWaits(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("first fails is %v", fails), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				var commits atomic.Int32
				s := &store{fail: func(box, step string) error {
					if box != "ann" || step != "commit" {
						return nil
					}
					if commits.Add(1) > 1 {
						return nil
					}
					time.Sleep(time.Minute)
					if fails {
						return errors.New("input/output error")
					}
					return nil
				}}
				l := openLedger(t, dir, newAgent(s))
				start := time.Now()
				var both sync.WaitGroup
				both.Go(func() {
					if fails {
						try(t, l, "1", "text", []string{"cid", "ann"}, 2, 4)
					} else {
						try(t, l, "1", "text", []string{"cid", "ann"}, 2, 2)
					}
				})
				both.Go(func() {
					time.Sleep(time.Second)
					try(t, l, "2", "text", []string{"ann", "bob"}, 2, 2)
					if d := time.Since(start); d != time.Minute {
						t.Errorf("the second ended after %v", d)
					}
				})
				both.Go(func() {
					time.Sleep(time.Second)
					try(t, l, "3", "another", []string{"ann", "bob"}, 2, 2)
					if d := time.Since(start); d != time.Second {
						t.Errorf("an other one ended after %v", d)
					}
				})
				both.Wait()
				s.has(t, "ann", 2)
				s.has(t, "bob", 2)
				s.has(t, "cid", 1)
			})
		})
	}
}

// Whoever waits too long may try again.
func TestSecondGivesUp(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := &store{fail: func(_, step string) error {
			if step == "commit" {
				time.Sleep(time.Hour)
			}
			return nil
		}}
		l := openLedger(t, dir, newAgent(s))
		var first sync.WaitGroup
		first.Go(func() { try(t, l, "1", "text", []string{"ann"}, 2) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if r := l.Deliver(ctx, envelope("bob", "ann"), message("text")); !r[0].Temporary() || !r[1].Temporary() {
			t.Error(r)
		}
		s.has(t, "bob", 0)
		first.Wait()
		s.has(t, "ann", 1)
	})
}

// After five days the client has given up, and the entry goes, also from the
// file.
func TestLedgerForgets(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := new(store)
		l := openLedger(t, dir, newAgent(s))
		try(t, l, "1", "text", []string{"ann"}, 2)
		time.Sleep(5*24*time.Hour - time.Second)
		try(t, l, "2", "other", []string{"ann"}, 2)
		time.Sleep(time.Second)
		try(t, l, "3", "text", []string{"ann"}, 2)
		s.has(t, "ann", 3)
		time.Sleep(5*24*time.Hour - time.Second)
		if l = openLedger(t, dir, newAgent(s)); l.Len() != 1 {
			t.Errorf("%d remembered after a restart, want 1", l.Len())
		}
	})
}

// Above the limit the oldest go.
func TestLedgerLimit(t *testing.T) {
	s := new(store)
	l := mda.OpenLedger(filepath.Join(t.TempDir(), "delivered"), 3, newAgent(s), silent)
	defer l.Close()
	for i := range 5 {
		try(t, l, fmt.Sprint(i), fmt.Sprint(i), []string{"ann"}, 2)
		if n := l.Len(); n > 3 {
			t.Fatalf("%d remembered", n)
		}
	}
	try(t, l, "again", "4", []string{"ann"}, 2)
	s.has(t, "ann", 5)
	try(t, l, "and again", "0", []string{"ann"}, 2)
	s.has(t, "ann", 6)
	try(t, l, "many", "many", []string{"ann", "bob", "cid", "ann+x", "team"}, 2, 2, 2, 2, 2)
	if n := l.Len(); n > 3 {
		t.Errorf("%d remembered", n)
	}
}

// One that remembers nothing serves whoever comes, and writes nothing; what an
// earlier one wrote is gone.
func TestLedgerOff(t *testing.T) {
	s, dir := new(store), t.TempDir()
	try(t, openLedger(t, dir, newAgent(s)), "1", "text", []string{"ann"}, 2)
	path := filepath.Join(dir, "delivered")
	l := mda.OpenLedger(path, 0, newAgent(s), silent)
	defer l.Close()
	for _, id := range []string{"2", "3"} {
		try(t, l, id, "text", []string{"ann"}, 2)
		l.Heard(id)
	}
	s.has(t, "ann", 3)
	if b, err := os.ReadFile(path); err != nil || len(b) != 0 || l.Len() != 0 {
		t.Errorf("%d remembered, %q, %v", l.Len(), b, err)
	}
}

// What the record says of a recipient who has the message already.
func TestLedgerRecord(t *testing.T) {
	l := openLedger(t, t.TempDir(), newAgent(new(store)))
	var outcomes []mail.Outcome
	l.Record = func(o mail.Outcome) { outcomes = append(outcomes, o) }
	try(t, l, "1", "text", []string{"ann"}, 2)
	try(t, l, "2", "text", []string{"ann", "nobody"}, 2, 5)
	if len(outcomes) != 1 {
		t.Fatalf("%d outcomes", len(outcomes))
	}
	o := outcomes[0]
	if o.Event != mail.Delivery || o.ID != "2" || len(o.To) != 1 || o.To[0] != address("ann") || !o.Reply.OK() || o.Note != "delivered before as 1" {
		t.Errorf("outcome %+v", o)
	}
}

// Many clients at once with a few messages, each sent several times: everyone
// gets each message once.
func TestLedgerAtOnce(t *testing.T) {
	s := new(store)
	l := openLedger(t, t.TempDir(), newAgent(s))
	boxes := []string{"ann", "bob", "cid"}
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			to := append(slices.Clone(boxes[i%3:]), boxes[:i%3]...)[:1+i%2]
			try(t, l, fmt.Sprint("id", i), fmt.Sprint("text", i%5), to, 2, 2)
		})
	}
	all.Wait()
	for _, box := range boxes {
		s.has(t, box, 5)
	}
}

// An alias is not served again where one of its members is put off.
func TestAliases(t *testing.T) {
	broken := true
	s := &store{fail: func(box, step string) error {
		if box == "flaky" && broken {
			return errors.New("input/output error")
		}
		return nil
	}}
	a := mda.Aliases{Deliverer: openLedger(t, t.TempDir(), newAgent(s)), Expand: expand}
	to := []string{"half", "nobody", "team", "bob"}
	try(t, a, "1", "text", to, 4, 5, 2, 2)
	broken = false
	try(t, a, "2", "text", to, 2, 5, 2, 2)
	for _, box := range []string{"ann", "bob", "flaky"} {
		s.has(t, box, 1)
	}
}

// An MX that has newer maps is followed, and what it knows is not denied.
func TestInStep(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		serving, loads := "1", 0
		s := new(store)
		agent := newAgent(s)
		known := agent.Lookup
		agent.Lookup = func(_ string, rcpt mail.Address) ([]mda.Target, error) {
			if rcpt.Local == "cid" && serving == "1" {
				return nil, mail.NoSuchUser
			}
			return known("", rcpt)
		}
		newest := "2"
		d := &mda.InStep{
			Deliverer: openLedger(t, dir, agent),
			Current:   func() string { return serving },
			CatchUp:   func(string) error { loads++; serving = newest; return nil },
		}
		verify := func(generation, local string, known bool) mail.Reply {
			env := envelope()
			env.Generation = generation
			return mail.ReplyTo(d.Verify(t.Context(), env, mail.Recipient{Address: address(local), Known: known}))
		}
		if r := verify("", "cid", false); !r.Is(mail.NoSuchUser) || loads != 0 {
			t.Errorf("somebody else's MX: %v after %d loads", r, loads)
		}
		if r := verify("1", "cid", true); !r.Temporary() || loads != 0 {
			t.Errorf("the same maps: %v after %d loads", r, loads)
		}
		if r := verify("2", "cid", true); !r.OK() || loads != 1 {
			t.Errorf("newer maps: %v after %d loads", r, loads)
		}
		for range 3 {
			if r := verify("3", "nobody", true); !r.Temporary() || r.Code == 421 || loads != 2 {
				t.Errorf("maps that are not to be had: %v after %d loads", r, loads)
			}
		}
		if r := verify("3", "nobody", false); !r.Is(mail.NoSuchUser) {
			t.Errorf("the MX asks us who is known: %v", r)
		}
		time.Sleep(time.Minute)
		if verify("3", "nobody", true); loads != 3 {
			t.Errorf("%d loads after a minute", loads)
		}
		env := envelope("ann", "nobody", "nobody")
		env.Generation = "2"
		env.To[1].Known = true
		replies := d.Deliver(t.Context(), env, message("text"))
		if !replies[0].OK() || !replies[1].Temporary() || !replies[2].Is(mail.NoSuchUser) {
			t.Errorf("at the end: %v", replies)
		}
	})
}

// A transaction keeps to one generation: that of the MX if it is still to be had,
// or else the one that served when it began.
func TestOneGeneration(t *testing.T) {
	serving, asked, loads := "2", "", 0
	agent := newAgent(new(store))
	known := agent.Lookup
	agent.Lookup = func(generation string, rcpt mail.Address) ([]mda.Target, error) {
		asked = generation
		return known(generation, rcpt)
	}
	d := &mda.InStep{
		Deliverer: mda.Aliases{Deliverer: agent, Expand: func(generation string, addr mail.Address) ([]mail.Address, error) {
			if generation != asked {
				t.Errorf("expanded by %q, not %q", generation, asked)
			}
			return expand(generation, addr)
		}},
		Current: func() string { return serving },
		Knows:   func(generation string) bool { return generation <= serving },
		CatchUp: func(string) error { loads++; return nil },
	}
	for generation, want := range map[string]string{"": "2", "1": "1", "2": "2"} {
		serving = "2"
		env := envelope("ann")
		env.Generation = generation
		if err := d.Verify(t.Context(), env, env.To[0]); err != nil || asked != want {
			t.Errorf("of %q: asked by %q, %v", generation, asked, err)
		}
		serving = "3"
		if r := d.Deliver(t.Context(), env, message("text")); !r[0].OK() || asked != want || loads != 0 {
			t.Errorf("of %q: delivered by %q, %v, after %d loads", generation, asked, r, loads)
		}
	}
}

package mda_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"postern/internal/delivertest"
	"postern/mail"
	"postern/mailbox"
	"postern/mda"
)

// A store has mailboxes in memory. It notes in order what is done to them, and
// fails where it is told to.
type store struct {
	// fail is asked before each step: open, begin, write, sync, commit.
	fail func(box, step string) error

	mu       sync.Mutex
	steps    []string // "box step"
	messages map[string][]string
	under    int // deliveries that neither ended in commit nor in abort
}

func (s *store) step(box, step string) error {
	s.mu.Lock()
	s.steps = append(s.steps, box+" "+step)
	s.mu.Unlock()
	if s.fail == nil {
		return nil
	}
	return s.fail(box, step)
}

// open is for mda.Target.Open.
func (s *store) open(box string) func() (mailbox.Mailbox, error) {
	return func() (mailbox.Mailbox, error) { return &memory{s, box}, s.step(box, "open") }
}

func (s *store) delivered(box string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages[box])
}

type memory struct {
	store *store
	box   string
}

func (m *memory) Begin(mailbox.Arrival) (mailbox.Delivery, error) {
	if err := m.store.step(m.box, "begin"); err != nil {
		return nil, err
	}
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	m.store.under++
	return &inMemory{memory: m}, nil
}

type inMemory struct {
	*memory
	text  strings.Builder
	ended bool
}

func (d *inMemory) Write(p []byte) (int, error) {
	if err := d.store.step(d.box, "write"); err != nil {
		return 0, err
	}
	return d.text.Write(p)
}

func (d *inMemory) Sync() error { return d.store.step(d.box, "sync") }

func (d *inMemory) Commit() error {
	if err := d.store.step(d.box, "commit"); err != nil {
		return err
	}
	d.end(func() {
		if d.store.messages == nil {
			d.store.messages = make(map[string][]string)
		}
		d.store.messages[d.box] = append(d.store.messages[d.box], d.text.String())
	})
	return nil
}

func (d *inMemory) Abort() { d.end(func() {}) }

func (d *inMemory) end(f func()) {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	if !d.ended {
		d.ended = true
		d.store.under--
		f()
	}
}

// newAgent returns an agent for ann, bob and cid, whose mailboxes have their
// names; "team" stands for the first two, and "ann+x" is ann.
func newAgent(s *store) *mda.Agent {
	boxes := map[string][]string{
		"ann": {"ann"}, "bob": {"bob"}, "cid": {"cid"}, "flaky": {"flaky"},
		"team": {"ann", "bob"}, "ann+x": {"ann"}, "empty": {},
	}
	return &mda.Agent{Lookup: func(_ string, rcpt mail.Address) ([]mda.Target, error) {
		names, known := boxes[rcpt.Local]
		if !known {
			return nil, mail.NoSuchUser
		}
		var targets []mda.Target
		for _, name := range names {
			targets = append(targets, mda.Target{Address: address(name), Mailbox: name, Open: s.open(name)})
		}
		return targets, nil
	}}
}

func address(local string) mail.Address { return mail.Address{Local: local, Domain: "mda.example"} }

func envelope(to ...string) *mail.Envelope {
	env := &mail.Envelope{ID: "id", From: mail.Address{Local: "sender", Domain: "client.example"}}
	for _, local := range to {
		env.To = append(env.To, mail.Recipient{Address: address(local)})
	}
	return env
}

func message(text string) *mail.Message { return mail.NewMessage(mail.Octets(text)) }

func TestConformance(t *testing.T) {
	delivertest.Run(t, func(t *testing.T) *delivertest.Subject {
		s := &store{fail: func(box, _ string) error {
			if box == "flaky" {
				return errors.New("flaky")
			}
			return nil
		}}
		t.Cleanup(func() {
			if s.under != 0 {
				t.Errorf("%d deliveries neither committed nor aborted", s.under)
			}
		})
		return &delivertest.Subject{
			Deliverer: newAgent(s),
			Delivered: func(rcpt mail.Address) []string { return s.delivered(rcpt.Local) },
			Ann:       address("ann"), Bob: address("bob"), Nobody: address("nobody"), Flaky: address("flaky"),
		}
	})
}

// Whatever fails at whatever step in one mailbox is a 4xx for whoever has it, and
// for nobody else.
func TestFaults(t *testing.T) {
	faults := []struct {
		err  error
		want mail.Reply
	}{
		{&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, mail.NoSpace},
		{&fs.PathError{Op: "write", Path: "x", Err: syscall.EDQUOT},
			mail.FullForNow},
		{fmt.Errorf("x: %w", mailbox.ErrOverQuota), mail.MailboxFull},
		{syscall.EIO, mail.LocalError},
		{syscall.EACCES, mail.LocalError},
		{syscall.EMFILE, mail.LocalError},
		{fs.ErrNotExist, mail.LocalError},
		{os.ErrDeadlineExceeded, mail.LocalError},
		{errors.New("anything"), mail.LocalError},
		{nil, mail.LocalError}, // a panic
	}
	for _, fault := range faults {
		for _, step := range []string{"open", "begin", "write", "sync", "commit"} {
			t.Run(fmt.Sprintf("%v at %s", fault.err, step), func(t *testing.T) {
				s := &store{fail: func(box, at string) error {
					switch {
					case box != "bob" || at != step:
						return nil
					case fault.err == nil:
						panic("bob")
					}
					return fault.err
				}}
				replies := newAgent(s).Deliver(t.Context(), envelope("ann", "bob", "team", "cid"), message("A: b\r\n\r\n"))
				ok := mail.Accepted.Saying("OK id")
				for i, want := range []mail.Reply{ok, fault.want, fault.want, ok} {
					if !replies[i].Is(want) {
						t.Errorf("recipient %d: %v, want %v", i, replies[i], want)
					}
				}
				if fault.err != nil && !errors.Is(replies[1].Err, fault.err) {
					t.Errorf("cause %v", replies[1].Err)
				}
				if n := len(s.delivered("ann")) + len(s.delivered("cid")); n != 2 || len(s.delivered("bob")) != 0 || s.under != 0 {
					t.Errorf("delivered %v, %d under way", s.messages, s.under)
				}
			})
		}
	}
}

// Nobody has the message before all have been prepared, and a mailbox that is
// meant twice gets it once.
func TestPhases(t *testing.T) {
	s := &store{}
	replies := newAgent(s).Deliver(t.Context(), envelope("ann", "team", "ann+x", "cid", "ann"), message("A: b\r\n\r\n"))
	for i, r := range replies {
		if !r.OK() {
			t.Errorf("recipient %d: %v", i, r)
		}
	}
	for _, box := range []string{"ann", "bob", "cid"} {
		if n := len(s.delivered(box)); n != 1 {
			t.Errorf("%s has %d messages", box, n)
		}
	}
	commit := func(step string) bool { return strings.HasSuffix(step, " commit") }
	first := slices.IndexFunc(s.steps, commit)
	if first < 0 || slices.ContainsFunc(s.steps[first:], func(step string) bool { return !commit(step) }) {
		t.Errorf("steps %v", s.steps)
	}
}

// A client that gives up while mailboxes are prepared finds nothing delivered.
func TestGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &store{fail: func(_, step string) error {
		if step == "sync" {
			cancel()
		}
		return nil
	}}
	for i, r := range newAgent(s).Deliver(ctx, envelope("ann", "bob"), message("A: b\r\n\r\n")) {
		if !r.Is(mail.LocalError) || !errors.Is(r, context.Canceled) {
			t.Errorf("recipient %d: %v", i, r)
		}
	}
	if len(s.messages) != 0 || s.under != 0 {
		t.Errorf("delivered %v, %d under way", s.messages, s.under)
	}
}

func TestFinalForm(t *testing.T) {
	const ours = "Return-Path: <sender@client.example>\r\n"
	received := strings.Repeat("Received: from a by b; now\r\n", 99)
	tests := []struct {
		name, in, want string
	}{
		{"none", "A: b\r\n\r\nx\r\n", ours + "A: b\r\n\r\nx\r\n"},
		{"one", "Return-Path: <x@y>\r\nA: b\r\n\r\nx\r\n", ours + "A: b\r\n\r\nx\r\n"},
		{"several", "A: b\r\nreturn-path :\r\n <x@y>\r\nC: d\r\nRETURN-PATH: <>\r\n\r\nReturn-Path: body\r\n",
			ours + "A: b\r\nC: d\r\n\r\nReturn-Path: body\r\n"},
		{"begins with white space", " x\r\nA: b\r\n\r\n", ours + "X-Header-Begins-With-White-Space:\r\n x\r\nA: b\r\n\r\n"},
		{"no header", "hello there\r\n", ours + "\r\nhello there\r\n"},
		{"empty", "", ours},
		{"99 hops", received + "\r\n", ours + received + "\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &store{}
			replies := newAgent(s).Deliver(t.Context(), envelope("ann"), message(tt.in))
			if got := s.delivered("ann"); !replies[0].OK() || len(got) != 1 || got[0] != tt.want {
				t.Errorf("%v, %q\nwant %q", replies, got, tt.want)
			}
		})
	}
}

func TestLoop(t *testing.T) {
	s := &store{}
	const hop = "RECEIVED: from a by b; now\r\n"
	text := strings.Repeat(hop, mail.MaxHops+1) + "\r\n"
	a := newAgent(s)
	for _, r := range a.Deliver(t.Context(), envelope("ann"), message(strings.TrimPrefix(text, hop))) {
		if !r.OK() { // the MX took it with one less
			t.Errorf("%d hops: %v", mail.MaxHops, r)
		}
	}
	s.steps = nil
	var recorded []mail.Outcome
	a.Record = func(o mail.Outcome) { recorded = append(recorded, o) }
	for i, r := range a.Deliver(t.Context(), envelope("ann", "bob"), message(text)) {
		if !r.Is(mail.MailLoop) {
			t.Errorf("recipient %d: %v", i, r)
		}
	}
	if len(s.steps) != 0 {
		t.Errorf("steps %v", s.steps)
	}
	if len(recorded) != 1 || len(recorded[0].To) != 2 || !recorded[0].Reply.Is(mail.MailLoop) {
		t.Errorf("recorded %+v", recorded)
	}
}

func TestVerify(t *testing.T) {
	full := mail.Reply{Code: 552, Status: mail.Status{5, 2, 2}, Text: "mailbox full"}
	tests := []struct {
		rcpt  string
		space error
		want  mail.Reply
	}{
		{"ann", nil, mail.Accepted},
		{"nobody", nil, mail.NoSuchUser},
		{"nobody", syscall.ENOSPC, mail.NoSuchUser},
		{"ann", fmt.Errorf("store: %w", syscall.ENOSPC), mail.NoSpace},
		{"ann", full, full},
		{"empty", nil, mail.LocalError}, // Lookup broke its promise
	}
	for _, tt := range tests {
		a := newAgent(&store{})
		a.Space = func(size int64) error {
			if size != 1234 {
				t.Errorf("size %d", size)
			}
			return tt.space
		}
		env := &mail.Envelope{Params: mail.Params{Size: 1234}}
		err := a.Verify(t.Context(), env, mail.Recipient{Address: address(tt.rcpt)})
		if got := mail.ReplyTo(err); !got.Is(tt.want) {
			t.Errorf("%s, %v: %v, want %v", tt.rcpt, tt.space, got, tt.want)
		}
	}
}

// An alias is refused when none of its mailboxes has room, and for now if one of
// them may have.
func TestRoom(t *testing.T) {
	full := fmt.Errorf("ann: %w", mailbox.ErrOverQuota)
	for _, tt := range []struct {
		rooms []error
		says  mail.Reply
		want  mail.Reply
	}{
		{[]error{nil}, mail.Reply{}, mail.Accepted},
		{[]error{full}, mail.Reply{}, mail.MailboxFull},
		{[]error{full}, mail.FullForNow, mail.FullForNow},
		{[]error{full, nil}, mail.Reply{}, mail.Accepted},
		{[]error{full, full}, mail.Reply{}, mail.MailboxFull},
		{[]error{full, syscall.EIO}, mail.Reply{}, mail.LocalError},
		{[]error{syscall.EIO, full}, mail.Reply{}, mail.LocalError},
		{[]error{syscall.EDQUOT}, mail.Reply{}, mail.FullForNow},
		{[]error{syscall.EDQUOT}, mail.MailboxFull, mail.FullForNow}, // whatever is said of a quota of ours
		{[]error{syscall.EIO}, mail.MailboxFull, mail.LocalError},
	} {
		a := &mda.Agent{OverQuota: tt.says, Lookup: func(string, mail.Address) (targets []mda.Target, _ error) {
			for _, err := range tt.rooms {
				targets = append(targets, mda.Target{Room: func(size int64) error {
					if size != 1234 {
						t.Errorf("size %d", size)
					}
					return err
				}})
			}
			return targets, nil
		}}
		env := &mail.Envelope{Params: mail.Params{Size: 1234}}
		err := a.Verify(t.Context(), env, mail.Recipient{Address: address("ann")})
		if got := mail.ReplyTo(err); !got.Is(tt.want) {
			t.Errorf("%v: %v, want %v", tt.rooms, got, tt.want)
		}
	}
}

// There is one record for each mailbox, and one for a recipient who has none.
func TestRecord(t *testing.T) {
	s := &store{fail: func(box, step string) error {
		if box == "bob" && step == "sync" {
			return syscall.EIO
		}
		return nil
	}}
	a := newAgent(s)
	var got []string
	a.Record = func(o mail.Outcome) {
		got = append(got, fmt.Sprintf("%v %s %v %d %d %t", o.Event, o.ID, o.To, o.Size, o.Reply.Code, o.Reply.Err != nil))
	}
	a.Deliver(t.Context(), envelope("team", "ann", "nobody"), message("A: b\r\n\r\n"))
	const size = len("Return-Path: <sender@client.example>\r\nA: b\r\n\r\n")
	want := []string{
		fmt.Sprintf("delivery id [ann@mda.example] %d 250 false", size),
		fmt.Sprintf("delivery id [bob@mda.example] %d 451 true", size),
		fmt.Sprintf("delivery id [nobody@mda.example] %d 550 false", size),
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

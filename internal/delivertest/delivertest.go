// Package delivertest holds every mail.Deliverer to the contract of that
// interface.
package delivertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"postern/mail"
)

// A Subject is a Deliverer to be tested, and what stands behind it.
type Subject struct {
	Deliverer mail.Deliverer
	// Delivered returns the messages that arrived for a recipient.
	Delivered func(rcpt mail.Address) []string
	// Ann and Bob exist. Nobody does not, and is refused for good. Flaky exists,
	// but messages for it fail for now.
	Ann, Bob, Nobody, Flaky mail.Address
}

const text = "Subject: conformance\r\n\r\n.\r\n..two\r\nFrom here\r\n\x00\x80\xff\r\n"

// Run tests the subjects that make returns, a new one for each test.
func Run(t *testing.T, make func(t *testing.T) *Subject) {
	tests := []struct {
		name string
		test func(*testing.T, *Subject)
	}{
		{"verify", verify},
		{"one recipient", oneRecipient},
		{"no recipient", noRecipient},
		{"null sender", nullSender},
		{"replies by index", byIndex},
		{"same recipient twice", twice},
		{"all refused", allRefused},
		{"message cannot be read", unreadable},
		{"given up before it began", givenUp},
		{"at once", atOnce},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, make(t)) })
	}
}

func verify(t *testing.T, s *Subject) {
	env := envelope()
	for _, addr := range []mail.Address{s.Ann, s.Bob} {
		if err := s.Deliverer.Verify(t.Context(), env, mail.Recipient{Address: addr}); err != nil {
			t.Errorf("%v: %v", addr, err)
		}
	}
	reply := mail.ReplyTo(s.Deliverer.Verify(t.Context(), env, mail.Recipient{Address: s.Nobody}))
	if reply.Code/100 != 5 {
		t.Errorf("%v: %v, want a refusal", s.Nobody, reply)
	}
	s.expect(t, s.Ann, 0)
}

func oneRecipient(t *testing.T, s *Subject) {
	s.deliver(t, text, []mail.Address{s.Ann}, 2)
	s.expect(t, s.Ann, 1)
	s.expect(t, s.Bob, 0)
}

func noRecipient(t *testing.T, s *Subject) {
	s.deliver(t, text, nil)
	s.expect(t, s.Ann, 0)
}

func nullSender(t *testing.T, s *Subject) {
	env := envelope(s.Ann)
	env.From = mail.Address{}
	if r := mail.Deliver(t.Context(), s.Deliverer, env, mail.NewMessage(mail.Octets(text))); !r[0].OK() {
		t.Errorf("replies %v", r)
	}
}

func byIndex(t *testing.T, s *Subject) {
	s.deliver(t, text, []mail.Address{s.Nobody, s.Ann, s.Flaky, s.Bob, s.Nobody}, 5, 2, 4, 2, 5)
	s.expect(t, s.Ann, 1)
	s.expect(t, s.Bob, 1)
	s.expect(t, s.Flaky, 0)
}

func twice(t *testing.T, s *Subject) {
	s.deliver(t, text, []mail.Address{s.Ann, s.Bob, s.Ann}, 2, 2, 2)
	s.expect(t, s.Bob, 1)
	if n := len(s.Delivered(s.Ann)); n == 0 {
		t.Errorf("%v has nothing", s.Ann)
	}
}

func allRefused(t *testing.T, s *Subject) {
	s.deliver(t, text, []mail.Address{s.Nobody, s.Nobody}, 5, 5)
	s.deliver(t, text, []mail.Address{s.Ann}, 2) // and it goes on
	s.expect(t, s.Ann, 1)
}

func unreadable(t *testing.T, s *Subject) {
	msg := mail.NewMessage(broken{mail.Octets(text)})
	replies := mail.Deliver(t.Context(), s.Deliverer, envelope(s.Ann, s.Bob), msg)
	check(t, replies, 4, 4)
	s.expect(t, s.Ann, 0)
	s.deliver(t, text, []mail.Address{s.Ann}, 2)
	s.expect(t, s.Ann, 1)
}

func givenUp(t *testing.T, s *Subject) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	replies := mail.Deliver(ctx, s.Deliverer, envelope(s.Ann), mail.NewMessage(mail.Octets(text)))
	check(t, replies, 4)
	s.expect(t, s.Ann, 0)
}

func atOnce(t *testing.T, s *Subject) {
	const n = 20
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			body := fmt.Sprintf("Subject: %d\r\n\r\n%s", i, text)
			s.deliver(t, body, []mail.Address{s.Ann, s.Nobody, s.Bob}, 2, 5, 2)
		})
	}
	all.Wait()
	for _, addr := range []mail.Address{s.Ann, s.Bob} {
		got := s.Delivered(addr)
		slices.Sort(got)
		if n2 := len(slices.Compact(got)); n2 != n {
			t.Errorf("%v has %d messages, want %d", addr, n2, n)
		}
	}
}

// deliver delivers text, and wants replies of these classes.
func (s *Subject) deliver(t *testing.T, text string, to []mail.Address, classes ...int) {
	t.Helper()
	replies := mail.Deliver(t.Context(), s.Deliverer, envelope(to...), mail.NewMessage(mail.Octets(text)))
	check(t, replies, classes...)
}

func check(t *testing.T, replies []mail.Reply, classes ...int) {
	t.Helper()
	if len(replies) != len(classes) {
		t.Errorf("%d replies, want %d", len(replies), len(classes))
		return
	}
	for i, r := range replies {
		if r.Code/100 != classes[i] || r.Code == mail.ShuttingDown.Code {
			t.Errorf("recipient %d: %v, want %dxx", i, r, classes[i])
		}
	}
}

// expect wants n messages for addr, each with all of text, and nothing after it.
func (s *Subject) expect(t *testing.T, addr mail.Address, n int) {
	t.Helper()
	got := s.Delivered(addr)
	if len(got) != n {
		t.Errorf("%v has %d messages, want %d", addr, len(got), n)
	}
	for _, g := range got {
		if !strings.HasSuffix(g, text) {
			t.Errorf("%v has %q", addr, g)
		}
	}
}

func envelope(to ...mail.Address) *mail.Envelope {
	env := &mail.Envelope{ID: "0123456789abcdef", From: mail.Address{Local: "sender", Domain: "client.example"}}
	for _, addr := range to {
		env.To = append(env.To, mail.Recipient{Address: addr})
	}
	return env
}

// broken is a Source whose octets cannot all be read.
type broken struct{ mail.Octets }

var errBroken = errors.New("input/output error")

// WriteRange writes half of what it should.
func (b broken) WriteRange(w io.Writer, r mail.Range) error {
	if err := b.Octets.WriteRange(w, mail.Range{Start: r.Start, End: (r.Start + r.End) / 2}); err != nil {
		return err
	}
	return errBroken
}

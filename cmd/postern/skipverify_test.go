package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"postern/config"
	"postern/mail"
)

// A scripted Deliverer counts the questions, and gives one reply to all messages.
type scripted struct {
	asked int
	reply mail.Reply
}

func (c *scripted) Verify(context.Context, *mail.Envelope, mail.Recipient) error {
	c.asked++
	return nil
}

func (c *scripted) Deliver(_ context.Context, env *mail.Envelope, _ *mail.Message) []mail.Reply {
	replies := make([]mail.Reply, len(env.To))
	replies[len(replies)-1] = c.reply
	for i := range replies[:len(replies)-1] {
		replies[i] = mail.Accepted
	}
	return replies
}

// Nobody is asked what is known, for a second after all went well and no longer; who
// has a quota, a place of its own or another next hop always is.
func TestAgentIsAskedUnlessSure(t *testing.T) {
	two := &mail.Envelope{To: make([]mail.Recipient, 2)}
	free := mail.Recipient{Known: true, Unbounded: true}
	for _, test := range []struct {
		name    string
		rcpt    mail.Recipient
		foreign bool
		edited  bool
		last    mail.Reply // to one of two recipients; zero: no message was delivered
		later   time.Duration
		asked   int
	}{
		{"sure", free, false, false, mail.Accepted, sureFor - 1, 0},
		{"too long ago", free, false, false, mail.Accepted, sureFor, 1},
		{"no message yet", free, false, false, mail.Reply{}, 0, 1},
		{"one of two does not have it", free, false, false, mail.NoSpace, 0, 1},
		{"one is refused", free, false, false, mail.MailboxFull, 0, 1},
		{"a quota", mail.Recipient{Known: true}, false, false, mail.Accepted, 0, 1},
		{"not ours", free, true, false, mail.Accepted, 0, 1},
		{"the maps were edited since", free, false, true, mail.Accepted, 0, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			agent := &scripted{reply: test.last}
			s := &skipVerify{Deliverer: agent, ours: func() bool { return !test.foreign }}
			if test.last.Code != 0 {
				agent.reply = mail.Accepted // what came before does not count
				s.Deliver(t.Context(), two, nil)
				agent.reply = test.last
				s.Deliver(t.Context(), two, nil)
			}
			time.Sleep(test.later)
			env := *two
			if test.edited {
				env.Generation = "another"
			}
			if err := s.Verify(t.Context(), &env, test.rcpt); err != nil || agent.asked != test.asked {
				t.Errorf("%s: %v, asked %d times", test.name, err, agent.asked)
			}
		})
	}
}

// A silent Deliverer breaks its contract: it answers for nobody.
type silent struct{ scripted }

func (*silent) Deliver(context.Context, *mail.Envelope, *mail.Message) []mail.Reply { return nil }

// No answer is no success: the next recipient is asked about, and the outcome of each
// is recorded as our own trouble.
func TestNextHopThatAnswersForNobody(t *testing.T) {
	env := &mail.Envelope{To: make([]mail.Recipient, 2)}
	agent := new(silent)
	s := &skipVerify{Deliverer: agent, ours: func() bool { return true }}
	s.Deliver(t.Context(), env, nil)
	if err := s.Verify(t.Context(), env, mail.Recipient{Unbounded: true}); err != nil || agent.asked != 1 {
		t.Errorf("%v, asked %d times", err, agent.asked)
	}
	recorded := 0
	next := handedOn{agent, func(o mail.Outcome) {
		if recorded++; o.Reply.Code != mail.LocalError.Code {
			t.Errorf("%v", o.Reply)
		}
	}}
	if next.Deliver(t.Context(), env, mail.NewMessage(mail.Octets("x"))); recorded != len(env.To) {
		t.Errorf("%d outcomes", recorded)
	}
}

// What the maps bound, or put elsewhere, is not unbounded.
func TestUnboundedRecipients(t *testing.T) {
	for _, test := range []struct {
		member config.Member
		want   bool
	}{
		{config.Member{}, true},
		{config.Member{Storage: config.Storage{Quota: 1}}, false},
		{config.Member{Path: "/home/ann/Maildir"}, false},
		{config.Member{Account: "ann"}, false},
		{config.Member{NextHop: true}, false},
	} {
		if got := recipient(test.member); got.Unbounded != test.want || got.Known == test.member.NextHop {
			t.Errorf("%+v: %+v", test.member, got)
		}
	}
}

package mx

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"postern/internal/dns"
	"postern/mail"
	"postern/policy/access"
)

// What was answered, and by whom, is in the record of the transaction.
func TestRecordOfATransaction(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		records := h.judged(t, dns.Zone{}, access.Rule{Name: "rule 1", Action: access.Deny, Recipients: []string{"bob@mx.example"}})
		h.next.refuse = map[string]error{"user1": mail.MailboxFull.Because(errors.New("no room"))}
		h.next.answer = map[string]mail.Reply{"ann": mail.FullForNow}
		h.play(t, toAnn+`
			C: RCPT TO:<bob@mx.example>
			S: 550 5.7.1 *
			C: RCPT TO:<nobody@mx.example>
			S: 550 5.1.1 *
			C: RCPT TO:<user1@mx.example>
			S: 552 5.2.2 *
			C: RCPT TO:<a@b@c>
			S: 501 *
			C: RCPT TO:<ü@mx.example>
			S: 553 *
			C: DATA
			S: 354 *
			C: From: Eve <Eve@client.example>
			C: Message-ID:
			C:  <1@client.example>
			C:
			C: hi
			C: .
			S: 452 4.2.2 *
			`+quit)
		synctest.Wait()
		r := (*records)[0]
		var got []string
		for _, rcpt := range r.Recipients {
			got = append(got, fmt.Sprint(rcpt.To.Local, " ", rcpt.By, " ", rcpt.Reply.Code))
		}
		want := []string{"ann next hop 250", "bob policy 550", "nobody maps 550", "user1 next hop 552", "ü session 553"}
		if !slices.Equal(got, want) {
			t.Errorf("recipients %q", got)
		}
		if r.Generation != "generation 1" || r.MessageID != "1@client.example" || r.Author != "Eve <Eve@client.example>" ||
			r.Size != 72 || r.Note != "said RCPT TO:<a@b@c>" || !r.Reply.Is(mail.FullForNow) {
			t.Errorf("%+v", r)
		}
		if len(r.Deliveries) != 1 || r.Deliveries[0].To.Local != "ann" || r.Deliveries[0].Reply.Code != 452 {
			t.Errorf("deliveries %v", r.Deliveries)
		}
		keys := []string{r.ID, "192.0.2.1", "1@client.example", "ann@mx.example", "bob@mx.example", "eve@client.example",
			"nobody@mx.example", "sender@client.example", "user1@mx.example", "ü@mx.example"}
		slices.Sort(keys)
		if !slices.Equal(r.Keys(), keys) {
			t.Errorf("keys %q", r.Keys())
		}
	})
}

// A client that names any number of recipients fills no record.
func TestRecordIsBounded(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		records := h.judged(t, dns.Zone{})
		script := sender
		for i := range 1100 {
			script += fmt.Sprintf("C: RCPT TO:<nobody%d@mx.example>\nS: 550 5.1.1 *\n", i)
		}
		h.play(t, script+quit)
		synctest.Wait()
		if r := (*records)[0]; len(r.Recipients) != 1000 || !r.Cut {
			t.Errorf("%d recipients, cut %v", len(r.Recipients), r.Cut)
		}
	})
}

// What came whole and is refused for good is given to whoever keeps it, as it
// would have been handed on; and nothing else is.
func TestRefusedMessagesAreKept(t *testing.T) {
	zone := dns.Zone{"TXT _dmarc.reject.example": {"v=DMARC1; p=reject"}}
	from := func(domain, reply string) string {
		return data + "C: From: eve@" + domain + "\nC: Return-Path: <x@y>\nC:\nC: hi\nC: .\nS: " + reply + "\n" + quit
	}
	for _, tt := range []struct {
		name, script string
		answer       map[string]mail.Reply
		want         string // in what is kept; empty: nothing is
	}{
		{"by the policy", toBoth + from("reject.example", "550 5.7.26 *"), nil, "dmarc=fail"},
		{"by the next hop", toAnn + from("client.example", "552 *"), map[string]mail.Reply{"ann": mail.MailboxFull}, "dmarc=none"},
		{"for now", toAnn + from("client.example", "452 *"), map[string]mail.Reply{"ann": mail.FullForNow}, ""},
		{"for one", toBoth + from("client.example", "451 4.5.0 *"), map[string]mail.Reply{"ann": mail.MailboxFull}, ""},
		{"taken", toAnn + from("client.example", "250 *"), nil, ""},
		{"not whole", toAnn + data + "C: From: eve@reject.example\nC.\n", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				records := h.judged(t, zone)
				h.next.answer = tt.answer
				var kept strings.Builder
				h.Keep = func(env *mail.Envelope, msg *mail.Message) bool {
					if len(env.To) == 0 || env.ID == "" {
						t.Errorf("envelope %+v", env)
					}
					_, err := msg.WriteTo(&kept)
					return err == nil
				}
				h.play(t, tt.script)
				synctest.Wait()
				if tt.want == "" && kept.Len() > 0 || !strings.Contains(kept.String(), tt.want) || strings.Contains(kept.String(), "<x@y>") {
					t.Errorf("kept:\n%s", kept.String())
				}
				if (*records)[0].Kept != (tt.want != "") {
					t.Errorf("recorded: kept %v", (*records)[0].Kept)
				}
			})
		})
	}
}

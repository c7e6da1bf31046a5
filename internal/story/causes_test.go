package story

import (
	"regexp"
	"testing"

	"postern/mail"
	"postern/policy"
)

// Each cause says what is the matter and both ways out, in words that are filled.
func TestCauses(t *testing.T) {
	known := map[string]bool{}
	for i, w := range new(Story).words(new(policy.Record), mail.Address{}, "", mail.Reply{}) {
		known[w] = i%2 == 0
	}
	for name, c := range causes {
		if c.what == "" || c.sender == "" || c.here == "" {
			t.Errorf("%s: %+v", name, c)
		}
		for _, w := range regexp.MustCompile(`{[^}]*}`).FindAllString(c.what+c.sender+c.here, -1) {
			if !known[w] {
				t.Errorf("%s: nobody fills %s", name, w)
			}
		}
	}
	for check, name := range byCheck {
		if causes[name].what == "" {
			t.Errorf("%s: there is no %q", check, name)
		}
	}
}

// Whatever refuses, there is a cause for it.
func TestEveryRefusalHasACause(t *testing.T) {
	for _, tt := range []struct {
		reply mail.Reply
		by    policy.Answerer
		want  string
	}{
		{mail.NoSuchUser, policy.ByMaps, "unknown user"},
		{mail.NoSuchUser, policy.ByNextHop, "unknown user"},
		{mail.NoSuchUser.Saying("gone"), policy.ByMaps, "refused by the map"},
		{mail.NoSuchUser.Saying("gone"), policy.ByNextHop, "unknown user"},
		{mail.NoRelay, policy.ByMaps, "not our domain"},
		{mail.MailboxFull, policy.ByNextHop, "quota"},
		{mail.MailboxFull, policy.ByMemory, "an earlier attempt"},
		{mail.FullForNow, policy.ByNextHop, "quota"},
		{mail.TooBig, policy.BySession, "too large"},
		{mail.TooBig.Saying("too fat"), policy.ByNextHop, "too large"},
		{mail.NonASCIIAddress, policy.BySession, "not understood"},
		{mail.NonASCIISender, policy.BySession, "not understood"},
		{mail.BadSender, policy.BySession, "not understood"},
		{mail.BadParameter, policy.BySession, "not understood"},
		{mail.TooManyRecipients, policy.BySession, "protocol"},
		{mail.NextHopDown, policy.ByNextHop, "our own trouble"},
		{mail.NoSpace, policy.BySession, "our own trouble"},
		{mail.LocalError, policy.ByMaps, "our own trouble"},
		{mail.Broken, policy.BySession, "our own trouble"},
		{mail.MixedResult, policy.ByNextHop, "several recipients"},
		{mail.BareNewline, policy.ByNextHop, "malformed"},
		{mail.MailLoop, policy.ByNextHop, "malformed"},
		{mail.ClientLost, policy.ByNextHop, "broken off"},
		{mail.TooManyErrors, policy.BySession, "too many"},
		{mail.TooManyConnections, policy.BySession, "too many"},
		{mail.TLSUnavailable, policy.BySession, "TLS"},
		{mail.EarlyTalker, policy.BySession, "protocol"},
		{mail.Reply{Code: 554, Status: mail.Status{5, 7, 1}, Text: "no"}, policy.ByNextHop, "next hop"},
	} {
		if got := causeOf(tt.reply, tt.by); got != tt.want || causes[got].what == "" {
			t.Errorf("%v by %s: %q, want %q", tt.reply, tt.by, got, tt.want)
		}
	}
}

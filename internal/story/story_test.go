package story

import (
	"slices"
	"strings"
	"testing"

	"postern/mail"
	"postern/policy"
)

var (
	ann = mail.Address{Local: "ann", Domain: "example.com"}
	bob = mail.Address{Local: "bob", Domain: "example.com"}
)

// to is a recipient, and what the client heard of it.
func to(addr mail.Address, by policy.Answerer, reply mail.Reply) policy.RecipientRecord {
	return policy.RecipientRecord{To: addr, By: by, Reply: reply}
}

// How it ended is a word, whatever there were of recipients and replies.
func TestEnds(t *testing.T) {
	apart := &policy.Verdict{Decision: policy.Decision{Action: policy.Quarantine}}
	gone := to(bob, policy.ByMaps, mail.NoSuchUser)
	fine := to(ann, policy.ByNextHop, mail.RecipientOK)
	for _, tt := range []struct {
		want string
		r    policy.Record
	}{
		{"not finished", policy.Record{}},
		{"not finished", policy.Record{Recipients: []policy.RecipientRecord{fine}}},
		{"taken", policy.Record{Recipients: []policy.RecipientRecord{fine}, Reply: mail.Accepted}},
		{"set apart", policy.Record{Recipients: []policy.RecipientRecord{fine}, Reply: mail.Accepted, Verdict: apart}},
		{"refused in part", policy.Record{Recipients: []policy.RecipientRecord{fine, gone}, Reply: mail.Accepted}},
		{"refused", policy.Record{Recipients: []policy.RecipientRecord{gone}}},
		{"put off", policy.Record{Recipients: []policy.RecipientRecord{to(ann, policy.ByNextHop, mail.NextHopDown)}}},
		{"put off", policy.Record{Recipients: []policy.RecipientRecord{fine, gone}, Reply: mail.MixedResult}},
		{"released", policy.Record{Released: true, Reply: mail.Accepted}},
		{"put off", policy.Record{Released: true, Reply: mail.FullForNow}},
	} {
		if got := Tell(&tt.r).End; got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.r, got, tt.want)
		}
	}
}

// Each reason is told once, of each address that it is about, and all of its words
// are filled.
func TestReasons(t *testing.T) {
	s := Tell(&policy.Record{
		ID: "0123", Facts: policy.Facts{From: mail.Address{Local: "eve", Domain: "client.example"}}, Kept: true,
		Recipients: []policy.RecipientRecord{
			to(ann, policy.ByMaps, mail.NoSuchUser), to(ann, policy.ByMaps, mail.NoSuchUser), to(bob, policy.ByMaps, mail.NoSuchUser),
		},
	})
	var told []string
	for _, r := range s.Reasons {
		told = append(told, r.Cause+": "+strings.Fields(r.What)[4])
	}
	if want := []string{"unknown user: ann@example.com", "unknown user: bob@example.com"}; !slices.Equal(told, want) {
		t.Errorf("%q", told)
	}
	var text strings.Builder
	if err := s.Print(&text); err != nil || strings.ContainsAny(text.String(), "{}") || !strings.HasSuffix(text.String(), "postern release 0123\n") {
		t.Errorf("%v\n%s", err, text.String())
	}
}

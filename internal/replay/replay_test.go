package replay

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/mail"
	"postern/policy"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// known is a side whose maps know the users of that name.
func known(users string) *Side {
	return &Side{
		Name:  users,
		Judge: &policy.Judge{Policy: func() *policy.Policy { return new(policy.Policy) }},
		Find: func(addr mail.Address) error {
			if slices.Contains(strings.Fields(users), addr.Local) {
				return nil
			}
			return mail.NoSuchUser
		},
	}
}

// transaction is the record of one from sender, that many minutes after noon.
func transaction(minutes int, sender string, rcpts ...policy.RecipientRecord) policy.Record {
	r := policy.Record{ID: sender, Recipients: rcpts}
	r.Facts.Time, r.Facts.From = noon.Add(time.Duration(minutes)*time.Minute), mail.Address{Local: sender, Domain: "client.example"}
	return r
}

func rcpt(user string, by policy.Answerer, reply mail.Reply) policy.RecipientRecord {
	return policy.RecipientRecord{To: mail.Address{Local: user, Domain: "example.com"}, By: by, Reply: reply}
}

var then = []policy.Record{
	transaction(-1, "early", rcpt("gone", policy.ByNextHop, mail.RecipientOK)),
	transaction(1, "one", rcpt("gone", policy.ByNextHop, mail.RecipientOK), rcpt("ann", policy.ByNextHop, mail.RecipientOK)),
	transaction(2, "two", rcpt("gone", policy.ByNextHop, mail.RecipientOK)),
	transaction(3, "three", rcpt("new", policy.ByMaps, mail.NoSuchUser), rcpt("gone", policy.BySession, mail.BadParameter)),
	transaction(4, "four", rcpt("ann", policy.ByNextHop, mail.FullForNow)),
	transaction(5, "five", rcpt("gone", policy.ByMaps, mail.NoRelay)),
	{ID: "stray", Refused: "the connection", Facts: policy.Facts{Time: noon.Add(time.Hour)}},
}

// What is found is what the maps of now answer otherwise than was answered then, or
// than those of old would; what is alike is listed once.
func TestChanges(t *testing.T) {
	for _, tt := range []struct {
		name    string
		old     *Side
		changes map[string]int // how often there is one like it
	}{
		{"answered", nil, map[string]int{"<gone@example.com> 550 550": 1, "<gone@example.com> 250 550": 2, "<new@example.com> 550 250": 1}},
		{"against the same", known("ann new"), map[string]int{}},
		{"against one that knew gone", known("ann new gone"), map[string]int{"<gone@example.com> 250 550": 3}},
		{"against one that knew nobody", known(""), map[string]int{"<ann@example.com> 550 250": 1, "<ann@example.com> 550 452": 1, "<new@example.com> 550 250": 1}},
	} {
		r := New(noon, known("ann new"), tt.old)
		for _, record := range then {
			text, err := json.Marshal(record)
			if err == nil {
				err = r.Add(text)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		found := map[string]int{}
		for _, c := range r.Changes {
			found[c.Of+" "+c.Then[:3]+" "+c.Now[:3]] = c.Times
		}
		if r.Judged != 5 || r.Verdicts != 7 || !maps.Equal(found, tt.changes) {
			t.Errorf("%s: %d verdicts of %d, %v, want %v", tt.name, r.Verdicts, r.Judged, found, tt.changes)
		}
	}
}

// Of very many changes the first are listed, and the others counted; who is asked for
// often is looked up once.
func TestChangesAreBounded(t *testing.T) {
	asked := 0
	side := known("")
	find := side.Find
	side.Find = func(addr mail.Address) error { asked++; return find(addr) }
	r := New(time.Time{}, side, nil)
	for i := range 2 * maxChanges {
		user := strings.Repeat("x", i+1)
		text, err := json.Marshal(transaction(i, "one", rcpt(user, policy.ByNextHop, mail.RecipientOK), rcpt("gone", policy.ByNextHop, mail.RecipientOK)))
		if err == nil {
			err = r.Add(text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(r.Changes) != maxChanges || r.More != maxChanges+1 || r.Altered != 4*maxChanges || asked != 2*maxChanges+1 {
		t.Errorf("%d changes, %d more, of %d; %d were looked up", len(r.Changes), r.More, r.Altered, asked)
	}
	if err := r.Add([]byte("{")); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("one that cannot be read: %v", err)
	}
}

func TestZone(t *testing.T) {
	for name, want := range map[string]string{
		"7.2.0.192.bad.example": "bad.example", strings.Repeat("a.", 32) + "bad.example": "bad.example",
		"_dmarc.example.com": "_dmarc.example.com", "1.2.example": "1.2.example", "a.b.c.d.example": "a.b.c.d.example",
	} {
		if got := zoneOf(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

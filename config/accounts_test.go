package config

import "testing"

// A mailbox belongs to the system user that its map says, or to nobody's account.
func TestSystemUsers(t *testing.T) {
	r := recipients(t, `
domain = "a.example"
users = "system"
mailboxes = ["ann", "old", "plain"]
[mailbox.bob]
path = "/srv/bob"
[mailbox.cid]
user = "charles"
[mailbox.plain]
user = ""
[aliases]
all = ["ann", "bob", "cid", "dan@b.example"]
[refuse]
old = "gone"
`, `
domain = "b.example"
mailboxes = ["dan"]
[mailbox.eve]
user = "eve"
`)
	for _, tt := range []struct {
		local, domain string
		want          []string
	}{
		{"ANN", "a.example", []string{"ann"}},
		{"ann+x", "a.example", []string{"ann"}},
		{"bob", "a.example", []string{"bob"}},
		{"cid", "a.example", []string{"charles"}},
		{"plain", "a.example", []string{""}},
		{"postmaster", "a.example", []string{""}}, // which no system has as a user
		{"all", "a.example", []string{"ann", "bob", "charles", ""}},
		{"dan", "b.example", []string{""}},
		{"eve", "b.example", []string{"eve"}},
	} {
		members := r.Lookup(tt.local, tt.domain).Members
		if len(members) != len(tt.want) {
			t.Errorf("%s@%s: %+v", tt.local, tt.domain, members)
			continue
		}
		for i, m := range members {
			if m.Account != tt.want[i] {
				t.Errorf("%s@%s: the account %q, want %q", tt.local, tt.domain, m.Account, tt.want[i])
			}
		}
	}
	for m := range r.All() {
		if m.User == "old" && m.Account != "old" {
			t.Errorf("who is refused: the account %q", m.Account)
		}
	}
}

func TestSystemUserMistakes(t *testing.T) {
	for _, tt := range []struct {
		name, text, want string
	}{
		{"values", "domain='a.example'\nmailboxes=['a']\nusers='unix'\n[mailbox.b]\nuser='../x'\n[mailbox.c]\nuser='root'\n[mailbox.d]\nuser=1000", `
			1.toml:3:7: users: "unix" is not known; write "virtual" or "system"
			1.toml:5:6: mailbox.b.user: "../x" cannot be the name of a system user; write it as in /etc/passwd, as "bob"; or "" for the delivery agent's own
			1.toml:7:6: mailbox.c.user: root gets no mail: nothing is ever written as root; make it an alias of somebody
			1.toml:9:6: mailbox.d.user must not be a whole number; write it as user = "bob"`},
		{"next hop", "domain='a.example'\nmailboxes='next-hop'\nusers='system'", `
			1.toml:3:7: users: the mailboxes of this domain are the next hop's; remove it`},
		{"root by its name", "domain='a.example'\nusers='system'\nmailboxes=['a']\n[mailbox.root]\nquota=5\n[aliases]\npostmaster=['a']", `
			1.toml:4:10: the mailbox "root" would be root's, who gets no mail: nothing is ever written as root; make it an alias of somebody`},
		{"root in the list", "domain='a.example'\nusers='system'\nmailboxes=['a','Root']\n[aliases]\npostmaster=['a']", `
			1.toml:3:16: the mailbox "root" would be root's, who gets no mail: nothing is ever written as root; make it an alias of somebody`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := build(sources(tt.text), "mx.example")
			compare(t, lines(t, err), tt.want)
		})
	}
}

// A mailbox called root may be the delivery agent's own.
func TestRootOfNobody(t *testing.T) {
	r := recipients(t, "domain='a.example'\nusers='system'\nmailboxes=['a','root']\n[mailbox.root]\nuser=''\n[aliases]\npostmaster=['a']")
	if m := r.Lookup("root", "a.example").Members; len(m) != 1 || m[0].Account != "" {
		t.Errorf("%+v", m)
	}
}

// What diff says of an edit tells whose mailbox it is.
func TestSystemUsersAreDescribed(t *testing.T) {
	r := recipients(t, "domain='a.example'\nusers='system'\nmailboxes=['ann']\n[mailbox.cid]\nuser='charles'\n[mailbox.dan]\nuser=''")
	d := r.domains["a.example"]
	for name, want := range map[string]string{"ann": "mailbox", "cid": "mailbox, of the system user charles", "dan": "mailbox, of no system user", "postmaster": "mailbox, of no system user"} {
		if got := d.describe(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := d.describeAll(); got != `recipients from the map, delimiter '+', mailboxes of system users` {
		t.Error(got)
	}
}

// What is wrong with a system user is told where he is named. That a path is not the
// delivery agent's to write is no matter of a system user's mailbox.
func TestAccountsNot(t *testing.T) {
	r := recipients(t, "domain='a.example'\nusers='system'\nmailboxes=['ann', 'bob']\n[mailbox.cid]\nuser='charles'\npath='/x'\n[mailbox.dan]\nuser=''\npath='/y'",
		"domain='b.example'\nmailboxes=['ann']")
	asked := make(map[string]int)
	got := r.AccountsNot(func(name string) (string, string) {
		asked[name]++
		if name == "bob" {
			return "", ""
		}
		return "no " + name, "make one"
	})
	compare(t, lines(t, got.sorted()), `
		1.toml:2:7: mailbox "ann": no ann; make one
		1.toml:5:6: mailbox "cid": no charles; make one`)
	if len(asked) != 3 || asked["ann"] != 1 {
		t.Errorf("asked %v", asked)
	}
	paths := r.PathsNot(func(string) bool { return false }, "%s", "")
	if len(paths) != 1 || paths[0].Message != "/y" {
		t.Errorf("paths %v", paths)
	}
}

package config

import (
	"slices"
	"testing"
)

func TestStorage(t *testing.T) {
	r := recipients(t, `
domain = "a.example"
mailboxes = ["ann", "old"]
quota = "1GiB"
folders = "detail"
[mailbox.bob]
quota = 5
[mailbox.cid]
format = "mbox"
quota = 0
folders = "none"
[aliases]
all = ["ann", "bob", "cid"]
[refuse]
old = "gone"
`, `
domain = "b.example"
mailboxes = []
[aliases]
x = ["ann@a.example", "y@c.example"]
`, `
domain = "c.example"
mailboxes = "next-hop"
`)
	ann, bob, cid := Storage{Maildir, 1 << 30, DetailFolders}, Storage{Maildir, 5, DetailFolders}, Storage{Mbox, 0, NoFolders}
	for _, tt := range []struct {
		local, domain string
		want          []Storage
	}{
		{"ann", "a.example", []Storage{ann}},
		{"ann+x", "a.example", []Storage{ann}},
		{"bob", "a.example", []Storage{bob}},
		{"cid+x", "a.example", []Storage{cid}},
		{"all+x", "a.example", []Storage{ann, bob, cid}},
		{"postmaster", "a.example", []Storage{ann}},
		{"abuse", "b.example", []Storage{{Maildir, 0, NoFolders}}},
		{"x", "b.example", []Storage{ann, {}}},
	} {
		members := r.Lookup(tt.local, tt.domain).Members
		if len(members) != len(tt.want) {
			t.Errorf("%s@%s: %+v", tt.local, tt.domain, members)
			continue
		}
		for i, m := range members {
			if m.Storage != tt.want[i] {
				t.Errorf("%s@%s: %+v, want %+v", tt.local, tt.domain, m.Storage, tt.want[i])
			}
		}
	}
}

func TestAll(t *testing.T) {
	r := recipients(t, "domain='a.example'\nalias_domains=['b.example']\nmailboxes=['ann','bob']\n[mailbox.bob]\nquota=5\n[mailbox.cid]\n[aliases]\nx=['bob']\n[refuse]\nann='no'\nnobody='no'",
		"domain='c.example'\nmailboxes='next-hop'")
	var got []string
	for m := range r.All() {
		got = append(got, Result{Status: Known, Members: []Member{m}}.describe())
	}
	slices.Sort(got)
	want := []string{"ann@a.example=ann", "bob@a.example=bob", "cid@a.example=cid", "postmaster@a.example=postmaster"}
	if !slices.Equal(got, want) || r.Mailboxes() != len(want) {
		t.Errorf("%d mailboxes: %q", r.Mailboxes(), got)
	}
}

func TestStorageMistakes(t *testing.T) {
	for _, tt := range []struct {
		name string
		maps []string
		want string
	}{
		{"values", []string{"domain='a.example'\nmailboxes=['a']\nformat='mh'\nquota='much'\nfolders=true\n[mailbox.b]\nquota=-1"}, `
			1.toml:3:8: format: "mh" is not known; write "maildir" or "mbox"
			1.toml:4:7: quota: "much" is not a size; write it as "50MiB", "2GB" or 65536
			1.toml:5:9: folders must not be true or false; write it as folders = "none"
			1.toml:7:7: mailbox.b.quota: -1 is not between 0 and 1048576TiB`},
		{"mbox", []string{"domain='a.example'\nmailboxes=['a']\nquota=5\nfolders='detail'\n[mailbox.b]\nformat='mbox'\n[mailbox.c]\nformat='mbox'\nquota=0\nfolders='none'"}, `
			1.toml:6:8: an mbox cannot have a quota; write quota = 0, or another format
			1.toml:6:8: an mbox has no folders; write folders = "none", or another format`},
		{"next hop", []string{"domain='a.example'\nmailboxes='next-hop'\nquota=5"}, `
			1.toml:3:7: quota: the mailboxes of this domain are the next hop's; remove it`},
		{"in the way", []string{"domain='a.example'\nmailboxes=['a']\nformat='mbox'\n[mailbox.'a.mbox']\nformat='maildir'\n[mailbox.'a.mbox.lock']\n[mailbox.'b.mbox']"}, `
			1.toml:4:10: the mailbox "a.mbox" would be where the mbox of "a" is; rename one of them, and make an alias of its name
			1.toml:6:10: the mailbox "a.mbox.lock" would be where the mbox of "a" is; rename one of them, and make an alias of its name`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := build(sources(tt.maps...), "mx.example")
			compare(t, lines(t, err), tt.want)
		})
	}
}

func TestGroup(t *testing.T) {
	for text, want := range map[string]int{"": 0, "12": 12, "root": 0} {
		if got, err := parseGroup(text); err != nil || got != want {
			t.Errorf("%q is %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"no such group", "-1", "99999999999"} {
		if got, err := parseGroup(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

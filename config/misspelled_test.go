package config

import (
	"path/filepath"
	"strings"
	"testing"
)

// A key that is misspelled is one mistake with the right key as the way out, and not
// one more for each thing that is missing without it.
func TestMisspelledKeys(t *testing.T) {
	const (
		domain    = "domain = 'a.example'\n"
		mailboxes = "mailboxes = ['alice', 'bob']\n"
		aliases   = "[aliases]\ninfo = ['alice']\n'*' = ['bob+x']\n"
	)
	tests := []struct{ text, want string }{
		{domain + "mailboxs = ['alice', 'bob']\n" + aliases, `1.toml:2:1: unknown key "mailboxs"; did you mean "mailboxes"?`},
		{domain + "Mailboxes = ['alice', 'bob']\n" + aliases, `1.toml:2:1: unknown key "Mailboxes"; it is written "mailboxes"`},
		{domain + "mailbox = ['alice', 'bob']\n" + aliases, `1.toml:2:11: mailbox must not be an array; did you mean mailboxes = ["alice", "bob"]?`},
		{domain + "mailbox = 'alice'\n" + aliases, `1.toml:2:11: mailbox must not be a string; did you mean mailboxes = ["alice"]?`},
		{domain + "mailboxes = 'alice'\n" + aliases, `1.toml:2:13: mailboxes: "alice" is neither an array of names nor "next-hop"; write mailboxes = ["alice"]`},
		{domain + "mailboxes = 'alice, bob'\n" + aliases, `1.toml:2:13: mailboxes: "alice, bob" is neither an array of names nor "next-hop"; write mailboxes = ["alice", "bob"]`},
		{domain + aliases + "[mailboxes.alice]\nquota = 5\n", `1.toml:5:2: mailboxes must not be a table; did you mean [mailbox.alice]?`},
		{domain + aliases + "[mailboxs.alice]\nquota = 5\n", `1.toml:5:2: unknown key "mailboxs"; did you mean "mailbox"?`},
		{domain + aliases + "[Mailbox.alice]\n", `1.toml:5:2: unknown key "Mailbox"; it is written "mailbox"`},
		{domain + "users = ['alice', 'bob']\n" + aliases, `1.toml:2:9: users must not be an array; did you mean mailboxes = ["alice", "bob"]?`},
		{domain + "recipients = ['alice', 'bob']\n" + aliases, `1.toml:2:1: unknown key "recipients"; did you mean "mailboxes"?`},
		{domain + "accounts = ['alice', 'bob']\n" + aliases, `1.toml:2:1: unknown key "accounts"; did you mean "mailboxes"?`},
		{domain + "[alias]\ninfo = ['x']", `1.toml:2:2: unknown key "alias"; did you mean "aliases"?`},
		{domain + "[Aliases]\ninfo = ['x']", `1.toml:2:2: unknown key "Aliases"; it is written "aliases"`},
		{domain + "[ALIAS]\ninfo = ['x']", `1.toml:2:2: unknown key "ALIAS"; did you mean "aliases"?`},
		{domain + mailboxes + "alias = ['x']", `1.toml:3:1: unknown key "alias"; did you mean "aliases"?`},
		{domain + mailboxes + "[forwards]\na = ['x']", `1.toml:3:2: unknown key "forwards"; did you mean "aliases"?`},
		{"domains = ['a.example']\n" + mailboxes + aliases, `1.toml:1:1: unknown key "domains"; did you mean "domain"? Each has a file, and its other names are alias_domains`},
		{"domians = 'a.example'\n" + mailboxes + aliases, `1.toml:1:1: unknown key "domians"; did you mean "domain"?`},
		{"Domain = 'a.example'\n" + mailboxes + aliases, `1.toml:1:1: unknown key "Domain"; it is written "domain"`},
		{"name = 'a.example'\n" + mailboxes + aliases, `1.toml:1:1: unknown key "name"; did you mean "domain"?`},
		{domain + mailboxes + "domain_aliases = ['b.example']", `1.toml:3:1: unknown key "domain_aliases"; did you mean "alias_domains"?`},
		{domain + mailboxes + "alias-domains = ['b.example']", `1.toml:3:1: unknown key "alias-domains"; did you mean "alias_domains"?`},
		{domain + mailboxes + "catchall = ['bob']", `1.toml:3:1: unknown key "catchall"; a catch-all is "*" = ["alice"] below [aliases]`},
		{domain + mailboxes + "catch-all = 'bob'", `1.toml:3:1: unknown key "catch-all"; a catch-all is "*" = ["alice"] below [aliases]`},
		{domain + mailboxes + "Catch_All = 'bob'", `1.toml:3:1: unknown key "Catch_All"; a catch-all is "*" = ["alice"] below [aliases]`},
		{domain + mailboxes + "'*' = ['bob']", `1.toml:3:1: unknown key "*"; a catch-all is "*" = ["alice"] below [aliases]`},
		{domain + "[aliases]\ncatchall = ['bob']\n", `1.toml:3:13: alias "catchall": "bob" is neither a mailbox nor an alias; add the mailbox, or remove the target`},
		{domain + mailboxes + "delimeter = '-'\n[aliases]\nx = ['bob-x']", `1.toml:3:1: unknown key "delimeter"; did you mean "delimiter"?`},
		{domain + mailboxes + "recipient_delimiter = '-'", `1.toml:3:1: unknown key "recipient_delimiter"; did you mean "delimiter"?`},
		{domain + mailboxes + "separator = '-'", `1.toml:3:1: unknown key "separator"; did you mean "delimiter"?`},
		{domain + mailboxes + "[refused]\nx = 'gone'", `1.toml:3:2: unknown key "refused"; did you mean "refuse"?`},
		{domain + mailboxes + "[reject]\nx = 'gone'", `1.toml:3:2: unknown key "reject"; did you mean "refuse"?`},
		{domain + mailboxes + "user = 'system'", `1.toml:3:1: unknown key "user"; did you mean "users"?`},
		{domain + mailboxes + "Quota = 5", `1.toml:3:1: unknown key "Quota"; it is written "quota"`},
		{domain + mailboxes + "quotas = 5", `1.toml:3:1: unknown key "quotas"; did you mean "quota"?`},
		{domain + mailboxes + "folder = 'detail'", `1.toml:3:1: unknown key "folder"; did you mean "folders"?`},
		{domain + mailboxes + "fromat = 'mbox'", `1.toml:3:1: unknown key "fromat"; did you mean "format"?`},
	}
	for _, tt := range tests {
		_, err := build(sources(tt.text), "")
		compare(t, lines(t, err), tt.want)
	}
}

// Nor does it make mistakes of the files that lead to it.
func TestMisspelledKeyOfAnother(t *testing.T) {
	_, err := build(sources("domain='a.example'\nmailboxs=['alice']", "domain='b.example'\nmailboxes=[]\n[aliases]\nx=['alice@a.example', 'y']"), "")
	compare(t, lines(t, err), `
		1.toml:2:1: unknown key "mailboxs"; did you mean "mailboxes"?
		2.toml:4:23: alias "x": "y" is neither a mailbox nor an alias; add the mailbox, or remove the target`)
}

func TestMisspelledKeysOfPostern(t *testing.T) {
	const host = "hostname = 'mx.example.com'\n"
	tests := []struct{ text, want string }{
		{"hostnam = 'mx.example.com'", `postern.toml:1:1: unknown key "hostnam"; did you mean "hostname"?`},
		{"Hostname = 'mx.example.com'", `postern.toml:1:1: unknown key "Hostname"; it is written "hostname"`},
		{"host_name = 'mx.example.com'", `postern.toml:1:1: unknown key "host_name"; did you mean "hostname"?`},
		{"myhostname = 'mx.example.com'", `postern.toml:1:1: unknown key "myhostname"; did you mean "hostname"?`},
		{host + "[MX]\nlisten = ['[::]:25']", `postern.toml:2:2: unknown key "MX"; it is written "mx"`},
		{host + "[smtp]\nlisten = ['[::]:25']", `postern.toml:2:2: unknown key "smtp"; did you mean "mx"?`},
		{host + "[lmtp]\nlisten = '/x'", `postern.toml:2:2: unknown key "lmtp"; did you mean "mda"?`},
		{host + "recipient = 'x'", `postern.toml:2:1: unknown key "recipient"; did you mean "recipients"?`},
		{host + "[mx]\ntls = { certificate = 'a', key = 'b' }", `postern.toml:3:9: unknown key "certificate" in [mx.tls]; did you mean "cert"?`},
		{host + "[[filter]]\nname = 'x'\nconect = 'unix:/x'", `postern.toml:4:1: unknown key "conect" in [filter]; did you mean "connect"?`},
		{host + "[dnsbl]\nlists = [{ zones = 'x.example' }]", `postern.toml:3:12: unknown key "zones" in [dnsbl.lists]; did you mean "zone"?`},
	}
	for _, tt := range tests {
		name := filepath.Join(t.TempDir(), "postern.toml")
		write(t, name, tt.text)
		_, err := Load(name)
		got := lines(t, err)
		for i := range got {
			got[i] = strings.TrimPrefix(got[i], filepath.Dir(name)+"/")
		}
		compare(t, got, tt.want)
	}
}

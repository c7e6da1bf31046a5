package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/config"
)

// A Postfix with everything that its virtual tables may have.
func TestImportPostfix(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("master.cf", "")
	write("main.cf", `compatibility_level = 3.6
virtual_mailbox_domains = example.com, example.org
virtual_mailbox_base = /var/mail/postern
virtual_mailbox_maps = hash:DIR/mailboxes
virtual_alias_domains = example.net
virtual_alias_maps = hash:DIR/aliases
recipient_delimiter = +
`)
	write("mailboxes", `# users
ann@example.com    example.com/ann/
Bob@example.com	elsewhere/bob/
carol@example.com  carol.mbox
dave@example.org   example.org/dave/
x/y@example.com    example.com/xy/
`)
	write("aliases", `team@example.com   ann@example.com,
    bob@example.com carol@example.com
bob@example.com    bob@example.com, ann@example.com
ann@example.com    ann@example.com
out@example.com    someone@elsewhere.example
both@example.com   ann@example.com, someone@elsewhere.example
sales@example.net  dave@example.org
@example.net       ann@example.com
root               ann@example.com
first.last@example.org dave@example.org
`)
	store := filepath.Join(dir, "maps")
	var out strings.Builder
	i := postfixImport{out: &out, from: dir, into: store, store: "/var/mail/postern"}
	if err := i.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{
		"aliases:5: out@example.com someone@elsewhere.example: mail for it would have to be forwarded, which comes later",
		"aliases:6: both@example.com someone@elsewhere.example: mail for it would have to be forwarded",
		"aliases:9: root ann@example.com: a name without a domain",
		"mailboxes:6: x/y@example.com example.com/xy/: a mailbox cannot have this name",
		"\n8 addresses lead to the same mailboxes, 3 do not; 4 entries were not taken over\n",
		"  both@example.com\n    Postfix: /var/mail/postern/example.com/ann, someone@elsewhere.example\n    Postern: /var/mail/postern/example.com/ann\n",
		"  out@example.com\n    Postfix: someone@elsewhere.example\n    Postern: unknown\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	r, err := config.LoadRecipients(store, "mx.example.com")
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{
		"ann@example.com":        "/var/mail/postern/example.com/ann",
		"bob+x@example.com":      "/var/mail/postern/elsewhere/bob, /var/mail/postern/example.com/ann",
		"team@example.com":       "/var/mail/postern/carol.mbox, /var/mail/postern/elsewhere/bob, /var/mail/postern/example.com/ann",
		"anybody@example.net":    "/var/mail/postern/example.com/ann",
		"sales@example.net":      "/var/mail/postern/example.org/dave",
		"first.last@example.org": "/var/mail/postern/example.org/dave",
		"nobody@example.com":     "unknown",
	} {
		if got := strings.Join(i.lookup(r, addr), ", "); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	if err := i.run(t.Context()); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("over maps that are there: %v", err)
	}
	write("main.cf", "virtual_mailbox_domains = example.com\nvirtual_mailbox_maps = mysql:/etc/x.cf\n")
	if err := i.run(t.Context()); err == nil || !strings.Contains(err.Error(), "mysql:/etc/x.cf: a table of this type is not read") {
		t.Errorf("a table in a data base: %v", err)
	}
}

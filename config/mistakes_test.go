package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// lines returns the mistakes in err, one each.
func lines(t *testing.T, err error) []string {
	t.Helper()
	var ms Mistakes
	if !errors.As(err, &ms) {
		t.Fatalf("%v (%T) is not Mistakes", err, err)
	}
	var all []string
	for _, m := range ms {
		all = append(all, m.Error())
	}
	return all
}

func compare(t *testing.T, got []string, want string) {
	t.Helper()
	wanted := strings.Split(strings.TrimSpace(want), "\n")
	for i := range wanted {
		wanted[i] = strings.TrimSpace(wanted[i])
	}
	if g, w := strings.Join(got, "\n"), strings.Join(wanted, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func TestMapMistakes(t *testing.T) {
	tests := []struct {
		name string
		maps []string
		want string
	}{
		{"syntax", []string{"domain = \"a.example\"\nmailboxes = [\"alice\", bob]\n"}, `1.toml:2:23: expected value but found "bob" instead; a text stands in quotes, as "bob"`},
		{"unfinished", []string{"domain = \"a.example\"\nmailboxes = [\"alice\","}, `1.toml:2:13: this array is not closed; put a ] behind its last element; or is the file cut off?`},
		{"another encoding, or none", []string{"\xff\xfe\x00\x00d\x00\x00\x00", "domain = 'a.example'\n" + strings.Repeat("\x00", 100)}, `
			1.toml:1:1: is UTF-32, and TOML must be UTF-8; save it as UTF-8, or: iconv -f utf-32 -t utf-8
			2.toml:2:1: goes on with NUL octets, as a file does that a crash damaged; restore it`},
		{"an open array", []string{"mailboxes = ['al',\n\n[refuse]\nbob='x'", "mailboxes = ['al'\ndelimiter = '+'\n", "[aliases]\nx=['al'", "mailboxes = ['al',\n'bo' 'cy']", "[aliases\nx=['al']", "x=['al']\n[[x]]"}, `
			1.toml:1:13: this array is not closed before line 3; put a ] behind its last element
			2.toml:1:13: this array is not closed before line 2; put a ] behind its last element
			3.toml:2:3: this array is not closed; put a ] behind its last element; or is the file cut off?
			4.toml:2:6: expected a comma (',') or array terminator (']'), but got '''; put a comma between the elements
			5.toml:1:9: expected '.' or ']' to end table name, but got '\n' instead; put a ] behind the name of the table
			6.toml:2:3: Key 'x' was already created and cannot be used as an array; a table is written with one pair of brackets, as [aliases]`},
		{"an open string", []string{"domain = \"a.example\nmailboxes = []", "domain = \"a.example”\nmailboxes = []", "[refuse]\nbob = \"bob’s gone\n"}, `
			1.toml:1:20: strings cannot contain newlines; the quotation mark at its end is missing
			2.toml:1:20: "”" is no quotation mark of TOML; write " in its place
			3.toml:2:18: strings cannot contain newlines; the quotation mark at its end is missing`},
		{"not separated", []string{"domain = 'a.example'\nmailboxes = ['a' 'b']", "domain = 'a.example', mailboxes = []", "domain: a.example", "domain = 'a\\b'\nx = \"\\d\""}, `
			1.toml:2:18: expected a comma (',') or array terminator (']'), but got '''; put a comma between the elements
			2.toml:1:21: expected a top-level item to end with a newline, comment, or EOF, but got ',' instead; one key stands on a line, and a comment begins with #
			3.toml:1:7: expected '.' or '=', but got ':' instead; a line is: key = value
			4.toml:2:6: invalid escape in string '\d'; write \\ for a backslash, or the text in single quotes`},
		{"twice", []string{"domain='a.example'\nmailboxes=[]\ndomain='b.example'", "[aliases]\na=['b']\n\n[aliases]\n", "[aliases]\na=['b']\n\"a\"=['c']", "[x.y]\na=1\n[x]\nz=1\ny=1", "x={a=1,a=2}", "a.c=1\na.b=1\na.b=2", "aliases={a=['b']}\n[aliases]\n", "x={a=1}\nx={b=2}\nz=1\n[y]\nw=1"}, `
			1.toml:3:1: domain is there already (1.toml:1); remove one of them
			2.toml:4:2: aliases is there already (2.toml:1); write what is below both of them below one
			3.toml:3:1: aliases.a is there already (3.toml:2); remove one of them
			4.toml:5:1: x.y is there already (4.toml:1); remove one of them
			5.toml:1:8: x.a is there already (5.toml:1); remove one of them
			6.toml:3:1: a.b is there already (6.toml:2); remove one of them
			7.toml:2:2: aliases is there already (7.toml:1); write what is below both of them below one
			8.toml:2:1: x is there already (8.toml:1); remove one of them`},
		{"not UTF-8", []string{"domain='a.example'\n# caf\xe9", "x='caf\xc3\xa9'\ny='\xfc\xdf'"}, `
			1.toml:2:6: the octet 0xE9 is not UTF-8, perhaps Latin-1; save it as UTF-8, or: iconv -f latin1 -t utf-8
			2.toml:2:4: the octet 0xFC is not UTF-8, perhaps Latin-1; save it as UTF-8, or: iconv -f latin1 -t utf-8`},
		{"control characters", []string{"domain='a\x00'", "\x01", "# \r#", "'\ufffd'\x7f"}, `
			1.toml:1:10: TOML has no control character 0x00; remove it, or in double quotes write \u0000
			2.toml:1:1: TOML has no control character 0x01; remove it, or in double quotes write \u0001
			3.toml:1:3: a CR without LF ends no line of TOML; save it with line ends of LF, or: tr '\r' '\n'
			4.toml:1:4: TOML has no control character 0x7f; remove it, or in double quotes write \u007f`},
		{"UTF-16", []string{"\xff\xfed\x00o\x00", "\xfe\xff\x00d\x00o", "d\x00o\x00m\x00", "\x00d\x00o\x00m"}, `
			1.toml:1:1: is UTF-16, and TOML must be UTF-8; save it as UTF-8, or: iconv -f utf-16 -t utf-8
			2.toml:1:1: is UTF-16, and TOML must be UTF-8; save it as UTF-8, or: iconv -f utf-16 -t utf-8
			3.toml:1:1: is UTF-16, and TOML must be UTF-8; save it as UTF-8, or: iconv -f utf-16le -t utf-8
			4.toml:1:1: is UTF-16, and TOML must be UTF-8; save it as UTF-8, or: iconv -f utf-16be -t utf-8`},
		{"git", []string{"domain='a.example'\n<<<<<<< HEAD\nmailboxes=[]\n=======\nmailboxes=['a']\n>>>>>>> b\n", "domain='a.example'\nmailboxes=[\n'a',\n=======\n'b'\n]", "x=1\n>>>>>>> b"}, `
			1.toml:2:1: is a mark of a conflict that git left; keep one side, and remove the lines <<<<<<<, ======= and >>>>>>>
			2.toml:4:1: is a mark of a conflict that git left; keep one side, and remove the lines <<<<<<<, ======= and >>>>>>>
			3.toml:2:1: is a mark of a conflict that git left; keep one side, and remove the lines <<<<<<<, ======= and >>>>>>>`},
		{"quotation marks", []string{"domain = “a.example”\n", "mailboxes = [‘a’]", "x = «a»", "x = ´a´"}, `
			1.toml:1:10: "“" is no quotation mark of TOML; write " in its place
			2.toml:1:14: "‘" is no quotation mark of TOML; write " in its place
			3.toml:1:5: "«" is no quotation mark of TOML; write " in its place
			4.toml:1:5: "´" is no quotation mark of TOML; write " in its place`},
		{"spaces", []string{"domain\u00a0= 'a.example'", "mailboxes = ['a',\n\u00a0'b']", "\u200bx = 1", "x = 'a'\u3000"}, `
			1.toml:1:7: U+00A0, a non-breaking space, is no white space of TOML; write a space in its place
			2.toml:2:1: U+00A0, a non-breaking space, is no white space of TOML; write a space in its place
			3.toml:1:1: U+200B, which cannot be seen, is no white space of TOML; remove it
			4.toml:1:8: U+3000, which looks like a space, is no white space of TOML; write a space in its place`},
		{"quotas", []string{"domain='a.example'\nmailboxes=['a']\nquota=5.5\n[mailbox.b]\nquota=true\n[mailbox.c]\nquota='5,5GB'\n[mailbox.d]\nquota='much'\n[mailbox.e]\nquota=26214400.0"}, `
			1.toml:3:7: quota must not be a number with a fraction; write it as quota = "5.5GiB", with its unit
			1.toml:5:7: mailbox.b.quota must not be true or false; write it as quota = "2GiB"
			1.toml:7:7: mailbox.c.quota: "5,5GB" is not a size; write it as "50MiB", "2GB" or 65536
			1.toml:9:7: mailbox.d.quota: "much" is not a size; write it as "50MiB", "2GB" or 65536
			1.toml:11:7: mailbox.e.quota must not be a number with a fraction; write it as quota = 26214400, in octets`},
		{"nothing", []string{"# to do"}, `
			1.toml: domain is missing; write domain = "example.com"
			1.toml: there are no mailboxes and no aliases; list them, as mailboxes = ["alice"]; or write mailboxes = "next-hop" if the LMTP server knows them`},
		{"unknown keys", []string{"\xef\xbb\xbfdomain='a.example'\nmailboxes=[]\nmailbox_size=5\nMailboxes=[]\nalias_domain=[]\ndelimeter='-'\nx.y=1\n[Aliases]\na=['b']\n[mailbox.bob]\nquotas=1\n[mailbox.a.b]\npath='/x'"}, `
			1.toml:3:1: unknown key "mailbox_size"; did you mean "mailboxes"?
			1.toml:4:1: unknown key "Mailboxes"; it is written "mailboxes"
			1.toml:5:1: unknown key "alias_domain"; did you mean "alias_domains"?
			1.toml:6:1: unknown key "delimeter"; did you mean "delimiter"?
			1.toml:7:1: unknown key "x"; known here: alias_domains, aliases, delimiter, domain, folders, format, mailbox, mailboxes, quota, refuse, users
			1.toml:8:2: unknown key "Aliases"; it is written "aliases"
			1.toml:11:1: unknown key "quotas" in [mailbox.bob]; did you mean "quota"?
			1.toml:12:12: unknown key "b" in [mailbox.a]; a name with a dot needs quotes, as "first.last"`},
		{"types", []string{"domain=1\nalias_domains='x'\ndelimiter=true\nmailboxes=['a',\n 5, # five\n ['b']]\nmailbox=1\naliases=[]\n[refuse]\nx=1.5\ny=2020-01-01\n"}, `
			1.toml:1:8: domain must not be a whole number; write it as domain = "example.com"
			1.toml:2:15: alias_domains must not be a string; write it as alias_domains = ["example.net"]
			1.toml:3:11: delimiter must not be true or false; write it as delimiter = "+"
			1.toml:5:2: mailboxes: must not be a whole number; write a string in quotes
			1.toml:6:2: mailboxes: must not be an array; write a string in quotes
			1.toml:7:9: mailbox must not be a whole number; write it as [mailbox]
			1.toml:8:9: aliases must not be an array; write it as [aliases]
			1.toml:10:3: refuse.x must not be a number with a fraction; write it as x = "moved to new@example.com"
			1.toml:11:3: refuse.y must not be a date; write it as y = "moved to new@example.com"`},
		{"more types", []string{"domain='a.example'\nmailboxes=5\n[aliases]\nfirst.last=['x']\nx='y'\n[mailbox]\nbob='/home/bob'\n[refuse.z]\n"}, `
			1.toml:2:11: mailboxes must not be a whole number; write it as mailboxes = ["alice", "bob"]
			1.toml:4:1: aliases.first must not be a table; a name with a dot needs quotes, as "first.last"
			1.toml:5:3: aliases.x must not be a string; write it as x = ["alice"]
			1.toml:7:5: mailbox.bob must not be a string; write it as [mailbox.bob]
			1.toml:8:9: refuse.z must not be a table; a name with a dot needs quotes, as "first.last"`},
		{"domains", []string{"domain='a..example'\nmailboxes=[]", "domain='[192.0.2.1]'\nmailboxes=[]", "domain='b.example'\nalias_domains=['me@a.example','-x.example','a b','" + strings.Repeat("a", 64) + "',\n'../x', '']\nmailboxes=[]"}, `
			1.toml:1:8: domain: "a..example" is not a domain name: "" cannot stand between dots; write it as "example.com"
			2.toml:1:8: domain: "[192.0.2.1]" is an IP address, not a domain; write it as "example.com"
			3.toml:2:16: alias_domains: "me@a.example" is an address, not a domain; leave out the local part and the @
			3.toml:2:31: alias_domains: "-x.example" is not a domain name: "-x" cannot stand between dots; write it as "example.com"
			3.toml:2:44: alias_domains: "a b" is not a domain name: "a b" cannot stand between dots; write it as "example.com"
			3.toml:2:50: alias_domains: "` + strings.Repeat("a", 64) + `" is not a domain name: "` + strings.Repeat("a", 64) + `" cannot stand between dots; write it as "example.com"
			3.toml:3:1: alias_domains: "../x" is not a domain name: "" cannot stand between dots; write it as "example.com"
			3.toml:3:9: alias_domains: "" is not a domain name: "" cannot stand between dots; write it as "example.com"`},
		{"domains twice", []string{"domain='a.example'\nalias_domains=['A.Example','b.example']\nmailboxes=[]", "domain = 'b.example'\nmailboxes=[]", "domain='c.example'\nmailboxes=[]\nalias_domains=['a.example']"}, `
			1.toml:2:16: the domain "a.example" is there already (1.toml:1); each domain has one map, and is an alias of one
			2.toml:1:10: the domain "b.example" is there already (1.toml:2); each domain has one map, and is an alias of one; at a first start neither serves
			3.toml:3:16: the domain "a.example" is there already (1.toml:1); each domain has one map, and is an alias of one; at a first start neither serves`},
		{"names", []string{"domain='a.example'\nmailboxes=[\n'',\n'a@a.example',\n'a/b',\n'.a',\n'-a',\n'*',\n\"a\\u0000\",\n' a',\n'" + strings.Repeat("é", 33) + "',\n]\n[aliases]\n'x@y'=['z']\n''=['z']\n[refuse]\n'x@y'='no'"}, `
			1.toml:3:1: mailboxes: a name must not be empty
			1.toml:4:1: mailboxes: "a@a.example" must be without a domain; write "a"
			1.toml:5:1: mailboxes: "a/b" has a slash, and cannot be the name of a folder; rename the mailbox, and make an alias of this name
			1.toml:6:1: mailboxes: ".a" begins with ".", and is no safe name for a folder; rename the mailbox, and make an alias of this name
			1.toml:7:1: mailboxes: "-a" begins with "-", and is no safe name for a folder; rename the mailbox, and make an alias of this name
			1.toml:8:1: mailboxes: "*" is not a mailbox; for a catch-all write "*" = ["..."] below [aliases]
			1.toml:9:1: mailboxes: "a\x00" has control characters or outer spaces; remove them
			1.toml:10:1: mailboxes: " a" has control characters or outer spaces; remove them
			1.toml:11:1: mailboxes: "` + strings.Repeat("é", 33) + `" is longer than 64 octets, which no sender can write
			1.toml:14:1: aliases: "x@y" must be without a domain; write "x"
			1.toml:15:1: aliases: a name must not be empty
			1.toml:17:1: refuse: "x@y" must be without a domain; write "x"`},
		{"names twice", []string{"domain='a.example'\nmailboxes=['a', 'bad/x', 'A',\n'a', 'c']\n[mailbox.B]\n[mailbox.b]\n[aliases]\nB=['c']\nc=['a']\nX=['a']\nx=['a']\n[refuse]\ny='no'\nY='no'"}, `
			1.toml:2:17: mailboxes: "bad/x" has a slash, and cannot be the name of a folder; rename the mailbox, and make an alias of this name
			1.toml:2:26: the mailbox "a" is there already (1.toml:2); remove one of them; case does not tell names apart
			1.toml:3:1: the mailbox "a" is there already (1.toml:2); remove one of them; case does not tell names apart
			1.toml:5:10: the mailbox "b" is there already (1.toml:4); case does not tell names apart
			1.toml:7:1: "b" is a mailbox and cannot be an alias too (1.toml:5); remove one of them
			1.toml:8:1: "c" is a mailbox and cannot be an alias too; remove one of them
			1.toml:10:1: the alias "x" is there already (1.toml:9); remove one of them; case does not tell names apart
			1.toml:12:1: "y" is refused already (1.toml:13); remove one of them; case does not tell names apart`},
		{"paths", []string{"domain='a.example'\n[mailbox.a]\npath='home/a'\n[mailbox.b]\npath=''\n[mailbox.c]\npath='/home/c'\n[mailbox.d]\npath='/'", "domain='b.example'\n[mailbox.'-x']\npath = '/home/./c/'"}, `
			1.toml:3:6: mailbox.a.path: "home/a" is not an absolute path; write it from the root, as "/home/bob/Maildir"
			1.toml:5:6: mailbox.b.path: "" is not an absolute path; write it from the root, as "/home/bob/Maildir"
			1.toml:9:6: mailbox.d.path: the root is no mailbox; write the path of a Maildir, or of an mbox
			2.toml:2:10: mailbox: "-x" begins with "-", and is no safe name for a folder; rename the mailbox, and make an alias of this name
			2.toml:3:8: /home/c is the path of another mailbox (1.toml:7); for one mailbox with two names make one of them an alias; at a first start neither serves`},
		{"delimiter", []string{"domain='a.example'\nmailboxes=[]\ndelimiter='::'", "domain='b.example'\nmailboxes=[]\ndelimiter='a'"}, `
			1.toml:3:11: delimiter: "::" cannot part a name from its sub-address; write "+", or "" for none
			2.toml:3:11: delimiter: "a" cannot part a name from its sub-address; write "+", or "" for none`},
		{"aliases", []string{"domain='a.example'\nmailboxes=['alice','carol']\n[aliases]\na=[]\nb=['alcie',\n  'bob@elsewhere.example', 'carol@A.example']\nc=[5, '']\nd=['x@b.example', 'gone', '@b.example', '*']\n'*'=['nobody']\n[refuse]\ngone='yes'", "domain='b.example'\nmailboxes=['z']"}, `
			1.toml:4:3: aliases.a: an alias must lead somewhere; name a mailbox, or remove the alias
			1.toml:5:4: alias "b": "alcie" is neither a mailbox nor an alias; did you mean "alice"?
			1.toml:6:3: alias "b": "bob@elsewhere.example" is not in a domain that is served here; forwarding to others comes in a later version
			1.toml:7:4: aliases.c: must not be a whole number; write a string in quotes
			1.toml:7:7: alias "c": a name must not be empty
			1.toml:8:4: alias "d": "x@b.example" is neither a mailbox nor an alias; add the mailbox, or remove the target
			1.toml:8:19: alias "d": "gone" is refused; remove it here or below [refuse]
			1.toml:8:27: alias "d": a name must not be empty
			1.toml:8:41: alias "d": "*" is neither a mailbox nor an alias; add the mailbox, or remove the target
			1.toml:9:6: alias "*": "nobody" is neither a mailbox nor an alias; add the mailbox, or remove the target`},
		{"loops", []string{"domain='a.example'\nmailboxes=['x']\n[aliases]\na=['x', 'b']\nb=['C+x@b.example']\nself=['SELF+x']\nin=['a']", "domain='b.example'\n[aliases]\nc=['a@a.example']"}, `
			1.toml:6:7: alias "self": the alias leads back to itself: self@a.example -> self@a.example; remove one of them
			2.toml:3:4: alias "c": the alias leads back to itself: a@a.example -> b@a.example -> c@b.example -> a@a.example; remove one of them`},
		{"one file is broken", []string{"domain='a.example'\nmailboxes=['x', 'bad/y']\n[aliases]\na=['x@b.example', 'z']", "domain='b.example\n"}, `
			1.toml:2:17: mailboxes: "bad/y" has a slash, and cannot be the name of a folder; rename the mailbox, and make an alias of this name
			1.toml:4:19: alias "a": "z" is neither a mailbox nor an alias; add the mailbox, or remove the target
			2.toml:1:18: strings cannot contain newlines; the quotation mark at its end is missing`},
		{"refusals", []string{"domain='a.example'\nmailboxes=[]\n[refuse]\nPostmaster='no'\n'*'='no'\na=''\nb=\"a\\r\\n250 ok\"\nc='für dich'\nd='" + strings.Repeat("x", 401) + "'"}, `
			1.toml:4:1: refuse: a postmaster must not be refused (RFC 5321, section 4.5.1); make it an alias of somebody
			1.toml:5:1: refuse: "*" cannot be refused; whoever is not in the map is refused anyway
			1.toml:6:3: refuse.a: the sender needs a reason; write old = "moved to new@example.com"
			1.toml:7:3: refuse.b: must be printable ASCII, for any sender must be able to read it; write it on one line without accents
			1.toml:8:3: refuse.c: must be printable ASCII, for any sender must be able to read it; write it on one line without accents
			1.toml:9:3: refuse.d: is longer than 400 characters, and does not fit a reply`},
		{"next hop", []string{"domain='a.example'\nmailboxes='next-hop'\n[mailbox.bob]\n[aliases]\n'*'=['bob']\nx=['y+z']", "domain='b.example'\nmailboxes='nexthop'"}, `
			1.toml:3:10: mailbox "bob": the mailboxes of this domain are the next hop's; list them instead of mailboxes = "next-hop"
			1.toml:5:1: the catch-all "*" has no effect, because the next hop is asked about whoever is not in the map; remove it, or mailboxes = "next-hop"
			2.toml:2:11: mailboxes: "nexthop" is neither an array of names nor "next-hop"; write mailboxes = "next-hop"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := build(sources(tt.maps...), "mx.example")
			compare(t, lines(t, err), tt.want)
		})
	}
}

func TestManyMistakes(t *testing.T) {
	_, err := build(sources("domain='a.example'\nmailboxes=["+strings.Repeat("'a/b',\n", 1000)+"]", "domain='b.example'"), "")
	got := lines(t, err)
	if len(got) != maxMistakes+2 || got[maxMistakes] != "1.toml: and 900 more mistakes" {
		t.Errorf("%d mistakes, ending %q", len(got), got[len(got)-2:])
	}
}

func TestManyMembers(t *testing.T) {
	var b strings.Builder
	b.WriteString("domain='a.example'\nmailboxes=['a']\n[aliases]\nbig=[")
	for i := range 5 {
		b.WriteString(strings.Repeat("'a@n"+string(rune('a'+i))+".example',", 3))
	}
	b.WriteString("]\n")
	for _, to := range []string{"'x0'", "'x1'", "'x2'"} {
		b.WriteString("to" + to[2:3] + "=[" + to + "]\n")
	}
	b.WriteString("x0=['a']\nx1=['x0','x0']\nx2=['x1','x1','x0']")
	maps := []string{b.String()}
	for i := range 5 {
		maps = append(maps, "domain='n"+string(rune('a'+i))+".example'\nmailboxes=['a']")
	}
	r := recipients(t, maps...)
	if got := len(r.Lookup("big", "a.example").Members); got != 5 {
		t.Errorf("big leads to %d mailboxes", got)
	}
	if got := len(r.Lookup("to2", "a.example").Members); got != 1 {
		t.Errorf("to2 leads to %d mailboxes", got)
	}
}

// What is quoted of a file is bounded, the caret stands where the mistake is, and
// nothing in it moves the terminal.
func TestExcerpt(t *testing.T) {
	var names strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&names, "'n%05d',", i)
	}
	many := names.String()
	tests := []struct{ name, text, want string }{
		{"tabs", "domain='a.example'\n\tmailboxes = [ 'ä', 'b/c' ] # x\r\n", "\tmailboxes = [ 'ä', 'b/c' ] # x\n\t                   ^\n"},
		{"wide characters", "domain='a.example'\nmailboxes = ['日本', 'e\u0301', 'b/c']", "mailboxes = ['日本', 'e\u0301', 'b/c']\n                          ^\n"},
		{"a megabyte before and after", "domain='a.example'\nmailboxes = [" + many + "'b/c'," + many + "]",
			"…95','n99996','n99997','n99998','n99999','b/c','n00000','n00001','n00002','n00003…\n" + strings.Repeat(" ", 41) + "^\n"},
		{"a megabyte before", "domain='a.example'\nmailboxes = [" + many + "'b/c']", "…','n99992','n99993','n99994','n99995','n99996','n99997','n99998','n99999','b/c']\n" + strings.Repeat(" ", 75) + "^\n"},
		{"a megabyte after", "domain='a.example'\nmailboxes = ['b/c'," + many + "]", "mailboxes = ['b/c','n00000','n00001','n00002','n00003','n00004','n00005','n00006…\n             ^\n"},
		{"hidden characters", "domain='a.example' # \u202e\u00a0\nmailboxes = [] #\u00a0\n  'b/c' = 1 # \u202e", "  'b/c' = 1 # \\u202e\n  ^\n"},
		{"controls", "domain='a.example'\nx = '\x1b[2J\r\x00' # \x07", "x = '\\x1b[2J\\r\\x00' # \\a\n     ^\n"},
		{"controls before", "a = '\x1b\xe9'", "a = '\\x1b\\xe9'\n     ^\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := build(sources(tt.text), "")
			var ms Mistakes
			if !errors.As(err, &ms) {
				t.Fatal(err)
			}
			if got := ms[0].Excerpt(); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if got := len(err.Error()); got > 20<<10 {
				t.Errorf("the error has %d octets", got)
			}
		})
	}
	if got := (Mistake{File: "x", Message: "is gone"}).Excerpt(); got != "" {
		t.Errorf("got %q of a whole file", got)
	}
}

// A message quotes no more than a part of what is written, and nothing that a
// terminal would obey, be it of a file's name.
func TestMessagesAreTame(t *testing.T) {
	long := strings.Repeat("é", 1<<20)
	_, err := build([]source{{name: "a\x1b[2J\n\u202e.toml", text: "domain='a.example'\nmailboxes=['" + long + "']\n[aliases]\n'" + long + "'=['x']\n\"\\u001b\"=['x']\n\"\\u001b\"=['x']"}}, "")
	got := err.Error()
	if len(got) > 10*maxMessage || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r == '\u202e' }) {
		t.Errorf("%d octets: %q", len(got), brief(got))
	}
	if want := `a\x1b[2J\n\u202e.toml:6:`; !strings.HasPrefix(got, want) {
		t.Errorf("%q does not begin %q", brief(got), want)
	}
	_, err = build(sources("domain='a.example'\nmailboxes=['"+long+"']"), "")
	if got := err.Error(); len(got) > 2*maxMessage || !strings.HasSuffix(got, "…"+long[:10]) && !strings.HasSuffix(got, "which no sender can write") {
		t.Errorf("%d octets: %q", len(got), brief(got))
	}
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestLoadRecipients(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadRecipients(filepath.Join(dir, "absent"), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	for _, name := range []string{"a.toml~", ".#a.toml", ".a.toml.swp", "a.toml.orig", "#a.toml#", "a.txt", "4913"} {
		write(t, filepath.Join(dir, name), "nonsense")
	}
	_, err := LoadRecipients(dir, "")
	compare(t, lines(t, err), dir+": there is no recipient map in this folder; write one file for each domain, as example.com.toml")

	write(t, filepath.Join(dir, "a.toml"), "domain='a.example'\nmailboxes=['x']")
	r, err := LoadRecipients(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Lookup("x", "a.example").Status; got != Known {
		t.Errorf("x is %v", got)
	}

	write(t, filepath.Join(dir, "b.toml"), "")
	if err := os.Mkdir(filepath.Join(dir, "c.toml"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"d.toml": "nowhere", "loop.toml": "loop.toml"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe.toml"), 0o666); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "e.toml"), "domain='A.example'\nmailboxes=[]")
	_, err = LoadRecipients(dir, "")
	got := lines(t, err)
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], dir+"/", "")
	}
	compare(t, got, `
		b.toml: is empty, as a file is that is being written, and would leave a domain without recipients; write domain = "example.com" and its mailboxes, or remove it
		c.toml: is a folder, and not a file; move it away, or give it a name that does not end in .toml
		d.toml: is a link to "nowhere", which is not there; link it to a file, or remove it
		e.toml:1:8: the domain "a.example" is there already (a.toml:1); each domain has one map, and is an alias of one; at a first start neither serves
		loop.toml: is a link that leads back to itself; link it to a file, or remove it
		pipe.toml: is not a file; move it away, or give it a name that does not end in .toml`)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not wrap the cause", err)
	}
}

// What is named where a file or a folder should be, and is none, is told as that.
func TestWrongFiles(t *testing.T) {
	dir := t.TempDir()
	loop, file, gone := filepath.Join(dir, "loop"), filepath.Join(dir, "file"), filepath.Join(dir, "gone")
	write(t, file, "domain = 'a.example'")
	for from, to := range map[string]string{loop: loop, gone: "nowhere"} {
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
	}
	load := func(name string) error { _, err := Load(name); return err }
	maps := func(name string) error { _, err := LoadRecipients(name, ""); return err }
	for _, tt := range []struct {
		err   error
		cause error
		want  string
	}{
		{load(dir), unix.EISDIR, "read configuration: read " + dir + ": is a directory; name the file in it, as " + dir + "/postern.toml"},
		{load(loop), unix.ELOOP, "read configuration: open " + loop + ": too many levels of symbolic links: it is a link that leads back to itself; link it to a file, or remove it"},
		{load(gone), fs.ErrNotExist, "read configuration: open " + gone + `: no such file or directory: it is a link to "nowhere", which is not there; link it to a file, or remove it`},
		{load(dir + "/none"), fs.ErrNotExist, "read configuration: open " + dir + "/none: no such file or directory"},
		{maps(file), unix.ENOTDIR, "read recipient maps: open " + file + ": not a directory; name the folder with a file for each domain"},
		{maps(loop), unix.ELOOP, "read recipient maps: open " + loop + ": too many levels of symbolic links: it is a link that leads back to itself; link it to a file, or remove it"},
	} {
		if tt.err.Error() != tt.want || !errors.Is(tt.err, tt.cause) {
			t.Errorf("got  %v\nwant %s", tt.err, tt.want)
		}
	}
}

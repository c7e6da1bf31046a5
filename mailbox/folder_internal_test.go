package mailbox

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

func TestFolderName(t *testing.T) {
	tests := []struct {
		path string // components separated by "|"
		want string // empty: none
	}{
		{path: "Junk", want: "Junk"},
		{path: "Lists|go", want: "Lists.go"},
		{path: "inbox", want: "INBOX"},
		{path: "inbox|inbox", want: "INBOX.inbox"},
		{path: "Entwürfe", want: "Entw&APw-rfe"},
		{path: "Entwu\u0308rfe", want: "Entw&APw-rfe"}, // not in NFC
		{path: "台北", want: "&U,BTFw-"},                 // RFC 3501, section 5.1.3
		{path: "日本語", want: "&ZeVnLIqe-"},
		{path: "~peter|mail|台北|日本語", want: "~peter.mail.&U,BTFw-.&ZeVnLIqe-"},
		{path: "R&D", want: "R&-D"},
		{path: "&&é&", want: "&-&-&AOk-&-"},
		{path: "😀", want: "&2D3eAA-"},
		{path: " a b ", want: " a b "},
		{path: ""},
		{path: "a||b"},
		{path: "a.b"},
		{path: "a/b"},
		{path: ".."},
		{path: "a\x00"},
		{path: "a\nb"},
		{path: "a\u0085b"},
		{path: "a*"},
		{path: "100%"},
		{path: "a\xff"},
		{path: strings.Repeat("x", 254), want: strings.Repeat("x", 254)},
		{path: strings.Repeat("x", 255)},
		{path: strings.Repeat("ü|", 64) + "x"},
	}
	for _, tt := range tests {
		got, err := folderName(strings.Split(tt.path, "|"), false)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: got %q, %v, want %q", tt.path, got, err, tt.want)
		}
	}
	if _, err := folderName(nil, false); err == nil {
		t.Error("no components: no error")
	}
	if got, err := folderName([]string{"Entwürfe", "R&D"}, true); got != "Entwürfe.R&D" || err != nil {
		t.Errorf("in UTF-8: %q, %v", got, err)
	}
}

// decodeUTF7 is RFC 3501, section 5.1.3, read the other way.
func decodeUTF7(t *testing.T, s string) string {
	t.Helper()
	var b strings.Builder
	for s != "" {
		direct, rest, found := strings.Cut(s, "&")
		b.WriteString(direct)
		if !found {
			break
		}
		run, after, found := strings.Cut(rest, "-")
		if !found {
			t.Fatalf("run without an end in %q", s)
		}
		s = after
		if run == "" {
			b.WriteByte('&')
			continue
		}
		octets, err := base64.RawStdEncoding.DecodeString(strings.ReplaceAll(run, ",", "/"))
		if err != nil || len(octets)%2 != 0 {
			t.Fatalf("run %q: %v", run, err)
		}
		var units []uint16
		for i := 0; i < len(octets); i += 2 {
			units = append(units, uint16(octets[i])<<8|uint16(octets[i+1]))
		}
		b.WriteString(string(utf16.Decode(units)))
	}
	return b.String()
}

func FuzzUTF7(f *testing.F) {
	for _, s := range []string{"", "a", "&", "ü&-ü", "台北", "😀a😀", "\x00\x7f~ "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		encoded := encodeUTF7(s)
		if strings.ContainsFunc(encoded, func(r rune) bool { return !isDirect(r) }) {
			t.Errorf("%q is encoded as %q", s, encoded)
		}
		if got := decodeUTF7(t, encoded); got != s {
			t.Errorf("%q came back as %q from %q", s, got, encoded)
		}
	})
}

func TestAddSubscription(t *testing.T) {
	tests := []struct{ name, old, folder, want string }{
		{"first", "", "Junk", "Junk\n"},
		{"another", "Sent\n", "Lists.go", "Sent\nLists.go\n"},
		{"there", "Sent\nJunk\nTrash\n", "Junk", "Sent\nJunk\nTrash\n"},
		{"part of one", "Junk.old\nxJunk\n", "Junk", "Junk.old\nxJunk\nJunk\n"},
		{"no LF at the end", "Sent", "Junk", "Sent\nJunk\n"},
		{"there, at the end", "Sent\nJunk", "Junk", "Sent\nJunk"},
		{"second form", "V\t2\n\nSent\n", "Lists.go", "V\t2\n\nSent\nLists\tgo\n"},
		{"second form, empty", "V\t2\n\n", "Junk", "V\t2\n\nJunk\n"},
		{"second form, there", "V\t2\n\nLists\tgo\n", "Lists.go", "V\t2\n\nLists\tgo\n"},
	}
	for _, tt := range tests {
		if got := string(addSubscription([]byte(tt.old), tt.folder)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

package mail

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var noon = time.Date(2026, 3, 1, 12, 0, 5, 0, time.FixedZone("", 90*60))

func TestRFC5321_4_4_Received(t *testing.T) {
	to := Address{"bob", "mx.example"}
	quoted := Address{`b "o) b`, "mx.example"}
	tests := []struct {
		name string
		r    Received
		want string
	}{
		{"all of it", Received{
			Client: Client{IP: netip.MustParseAddr("192.0.2.1"), Hello: "client.example", ESMTP: true, TLS: "TLSv1.3 TLS_AES_128_GCM_SHA256"},
			By:     "mx.example", Protocol: "ESMTPS", ID: "0123456789abcdef", For: &to, Date: noon,
		}, "Received: from client.example ([192.0.2.1])\r\n" +
			"\tby mx.example (TLSv1.3 TLS_AES_128_GCM_SHA256) with ESMTPS\r\n" +
			"\tid 0123456789abcdef\r\n" +
			"\tfor <bob@mx.example>;\r\n" +
			"\tSun, 01 Mar 2026 12:00:05 +0130\r\n"},
		{"little of it", Received{By: "mx.example", Protocol: "SMTP", ID: "x", Date: noon},
			"Received: from unknown\r\n\tby mx.example with SMTP\r\n\tid x;\r\n\tSun, 01 Mar 2026 12:00:05 +0130\r\n"},
		{"IPv6", Received{Client: Client{IP: netip.MustParseAddr("2001:db8::1"), Hello: "[IPv6:2001:db8::1]"}, By: "b", Protocol: "SMTP", ID: "x", Date: noon},
			"Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n\tby b with SMTP\r\n\tid x;\r\n\tSun, 01 Mar 2026 12:00:05 +0130\r\n"},
		{"every letter of a name", Received{Client: Client{Hello: "AZaz09-.x_[:]"}, By: "b", Protocol: "SMTP", ID: "x", Date: noon},
			"Received: from AZaz09-.x_[:]\r\n\tby b with SMTP\r\n\tid x;\r\n\tSun, 01 Mar 2026 12:00:05 +0130\r\n"},
		{"a zone", Received{Client: Client{IP: netip.MustParseAddr("fe80::1%eth0"), Hello: "a"}, By: "b", Protocol: "SMTP", ID: "x", Date: noon},
			"Received: from a ([IPv6:fe80::1])\r\n\tby b with SMTP\r\n\tid x;\r\n\tSun, 01 Mar 2026 12:00:05 +0130\r\n"},
		{"a quoted recipient", Received{By: "b", Protocol: "SMTP", ID: "x", For: &quoted, Date: noon},
			"Received: from unknown\r\n\tby b with SMTP\r\n\tid x\r\n\tfor <\"b \\\"o) b\"@mx.example>;\r\n\tSun, 01 Mar 2026 12:00:05 +0130\r\n"},
	}
	for _, tt := range tests {
		if got := tt.r.Field(); got != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

// What the client calls itself stays one word of one line.
func FuzzReceivedHello(f *testing.F) {
	for _, s := range []string{"a.example", "a\r\nX-Evil: 1", "a (b) by c with d; e", "\xff\xfe", "ü", "", "a\x00b", "a\tb", strings.Repeat("é", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, hello string) {
		r := Received{Client: Client{Hello: hello, IP: netip.MustParseAddr("192.0.2.1")}, By: "mx.example", Protocol: "SMTP", ID: "x", Date: noon}
		field := r.Field()
		lines := strings.Split(field, "\r\n")
		if len(lines) != 5 || strings.ContainsAny(strings.Join(lines, ""), "\r\n\x00") {
			t.Fatalf("%q: %q", hello, field)
		}
		words := strings.Split(lines[0], " ")
		if len(words) != 4 || words[3] != "([192.0.2.1])" || len(words[2]) > 255 || Printable(words[2], 255) != words[2] {
			t.Fatalf("%q: %q", hello, lines[0])
		}
		if strings.ContainsAny(words[2], `()<>,;\"@`) {
			t.Fatalf("%q: %q", hello, words[2])
		}
		for i, line := range lines[:4] {
			if i > 0 && line[0] != '\t' || len(line) > 998 {
				t.Fatalf("%q: line %q", hello, line)
			}
		}
	})
}

func TestRFC3848_Protocol(t *testing.T) {
	const tls = "TLSv1.3"
	tests := []struct {
		client     Client
		lmtp, utf8 bool
		want       string
	}{
		{Client{}, false, false, "SMTP"},
		{Client{TLS: tls}, false, false, "SMTP"}, // HELO: no word says more
		{Client{ESMTP: true}, false, false, "ESMTP"},
		{Client{ESMTP: true, TLS: tls}, false, false, "ESMTPS"},
		{Client{ESMTP: true}, true, false, "LMTP"},
		{Client{TLS: tls}, true, false, "LMTPS"},
		{Client{ESMTP: true}, false, true, "UTF8SMTP"}, // RFC 6531, section 4.3
		{Client{ESMTP: true, TLS: tls}, false, true, "UTF8SMTPS"},
		{Client{ESMTP: true}, true, true, "UTF8LMTP"},
		{Client{ESMTP: true, TLS: tls}, true, true, "UTF8LMTPS"},
	}
	for _, tt := range tests {
		if got := Protocol(tt.client, tt.lmtp, tt.utf8); got != tt.want {
			t.Errorf("%+v, LMTP %v, UTF-8 %v: %s", tt.client, tt.lmtp, tt.utf8, got)
		}
	}
}

func TestRFC5321_4_4_ReturnPath(t *testing.T) {
	for addr, want := range map[Address]string{
		{}:           "Return-Path: <>\r\n",
		{"a", "b"}:   "Return-Path: <a@b>\r\n",
		{"a b", "c"}: "Return-Path: <\"a b\"@c>\r\n",
	} {
		if got := ReturnPath(addr); got != want {
			t.Errorf("%v: %q", addr, got)
		}
	}
}

func TestAddress(t *testing.T) {
	tests := []struct {
		a    Address
		path string
	}{
		{Address{}, "<>"},
		{Address{"a", "b"}, "<a@b>"},
		{Address{"A.b", "C"}, "<A.b@C>"},
		{Address{"postmaster", ""}, "<postmaster>"},
		{Address{"", "b"}, `<""@b>`},
		{Address{" ", "b"}, `<" "@b>`},
		{Address{".a", "b"}, `<".a"@b>`},
		{Address{"a.", "b"}, `<"a."@b>`},
		{Address{"a..b", "c"}, `<"a..b"@c>`},
		{Address{"a@b", "c"}, `<"a@b"@c>`},
		{Address{`a"b\c`, "d"}, `<"a\"b\\c"@d>`},
		{Address{"a>", "b"}, `<"a>"@b>`},
		{Address{"ü", "b"}, "<ü@b>"},
		{Address{"a", "[192.0.2.1]"}, "<a@[192.0.2.1]>"},
	}
	for _, tt := range tests {
		if got := tt.a.Path(); got != tt.path || tt.a.LogValue().String() != tt.path {
			t.Errorf("%#v: %q", tt.a, got)
		}
		if tt.a.IsNull() != (tt.path == "<>") {
			t.Errorf("%#v: IsNull", tt.a)
		}
	}
	for a, want := range map[Address]bool{
		{"postmaster", ""}: true, {"PostMaster", "b"}: true,
		{"postmaster2", "b"}: false, {"", "postmaster"}: false, {"po\u017ftmaster", "b"}: false,
	} {
		if a.IsPostmaster() != want {
			t.Errorf("%#v: IsPostmaster", a)
		}
	}
	for a, want := range map[Address]bool{{"a", "b"}: true, {"ü", "b"}: false, {"a", "ü"}: false, {}: true} {
		if a.IsASCII() != want {
			t.Errorf("%#v: IsASCII", a)
		}
	}
}

func TestPrintable(t *testing.T) {
	tests := []struct {
		s    string
		n    int
		want string
	}{
		{"abc ~", 10, "abc ~"},
		{"abc", 2, "ab"},
		{"abc", 0, ""},
		{"a\r\nb\tc\x00\x7f", 20, "a??b?c??"},
		{"üx", 10, "?x"},
		{"\xff\xfe", 10, "??"},
		{"\u2028\u0085", 10, "??"},
		{"", 5, ""},
	}
	for _, tt := range tests {
		if got := Printable(tt.s, tt.n); got != tt.want {
			t.Errorf("%q, %d: %q", tt.s, tt.n, got)
		}
	}
}

func TestNewID(t *testing.T) {
	const letters = "0123456789abcdefghjkmnpqrstvwxyz"
	var ids []string
	for i := range 1000 {
		ids = append(ids, NewID(noon.Add(time.Duration(i)*time.Microsecond)))
	}
	for _, id := range ids {
		if len(id) != 16 || strings.Trim(id, letters) != "" {
			t.Errorf("%q", id)
		}
	}
	if !slices.IsSorted(ids) {
		t.Error("not sorted by time")
	}
	if slices.Compare(ids[:1], []string{NewID(noon.AddDate(300, 0, 0))}) >= 0 {
		t.Error("the order does not last")
	}
	// Those of one and the same microsecond differ, too.
	same := make(map[string]bool)
	for range 100 {
		same[NewID(noon)] = true
	}
	if len(same) < 99 {
		t.Errorf("%d of 100 differ", len(same))
	}
}

func TestOutcomeLog(t *testing.T) {
	log := func(o Outcome) map[string]any {
		var b bytes.Buffer
		o.Log(slog.New(slog.NewJSONHandler(&b, nil)))
		var line map[string]any
		if err := json.Unmarshal(b.Bytes(), &line); err != nil {
			t.Fatalf("%q: %v", b.String(), err)
		}
		if !utf8.Valid(b.Bytes()) || strings.Count(b.String(), "\n") != 1 {
			t.Errorf("%q", b.String())
		}
		return line
	}
	ann, bob := Address{"ann", "b"}, Address{"bo b", "b"}
	one := log(Outcome{Event: Refused, To: []Address{bob}, Reply: NoSuchUser, Client: Client{IP: netip.MustParseAddr("192.0.2.1"), Hello: "a\r\nb"}})
	for key, want := range map[string]any{
		"msg": "refused", "level": "INFO", "client": "192.0.2.1", "helo": "a??b", "from": "<>", "to": `<"bo b"@b>`,
		"code": 550.0, "status": "5.1.1", "text": "no such user here",
	} {
		if one[key] != want {
			t.Errorf("%s: got %v, want %v", key, one[key], want)
		}
	}
	several := log(Outcome{Event: EndOfData, ID: "x", From: ann, To: []Address{ann, bob}, Size: 5, Reply: LocalError.Because(errors.New("disk")), Took: time.Second})
	if got, ok := several["to"].([]any); !ok || len(got) != 2 || got[0] != "<ann@b>" || got[1] != `<"bo b"@b>` {
		t.Errorf("to: %v", several["to"])
	}
	if several["level"] != "WARN" || several["cause"] != "disk" || several["client"] != "local" || several["msg"] != "message" {
		t.Errorf("%v", several)
	}
	connection := log(Outcome{Event: Connection, Reply: TooManyConnections})
	if _, has := connection["from"]; has || connection["msg"] != "connection" {
		t.Errorf("%v", connection)
	}
	if Event(9).String() != "event 9" || Delivery.String() != "delivery" {
		t.Error("the names of events")
	}
}

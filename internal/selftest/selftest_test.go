package selftest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/certtest"
)

// certificate has one for the host that is tried.
func certificate(t *testing.T) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{certtest.New(t, "mx.example.com")}}
}

// target returns srv as a target that has everything.
func target(srv *server) Target {
	return Target{
		Protocol: srv.protocol,
		Dial: func(context.Context) (net.Conn, error) {
			client, conn := net.Pipe()
			go srv.serve(conn)
			return client, nil
		},
		Host: "mx.example.com", Port: "2525",
		Hello: "client.example", From: "bob@sender.example", To: "ann@example.com", Unknown: "nobody@example.com",
		Timeout: 10 * time.Second, Insecure: true, Slow: true, MaxSend: 1 << 20,
	}
}

// check makes checks of a target. They must be made in a bubble.
func check(t *testing.T, target Target, checks []Check) []Result {
	t.Helper()
	run, err := Start(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	results := make([]Result, len(checks))
	for i, c := range checks {
		results[i] = run.Check(t.Context(), c)
	}
	return results
}

// A correct server passes every check of what it offers.
func TestCorrectServer(t *testing.T) {
	config := certificate(t)
	for _, protocol := range []Protocol{SMTP, LMTP} {
		synctest.Test(t, func(t *testing.T) {
			for _, r := range check(t, target(&server{protocol: protocol, config: config}), Checks(protocol)) {
				skippable := slices.Contains([]string{"tls.certificate"}, r.ID) || strings.HasSuffix(r.ID, "not-offered")
				if r.Status != Passed && !(r.Status == Skipped && skippable) {
					t.Errorf("%s %s: %s: %s\n%s", protocol, r.ID, r.Status, r.Detail, strings.Join(r.Dialogue, "\n"))
				}
			}
		})
	}
}

// faults are servers with one fault each, and the checks that look for it.
var faults = []struct {
	protocol Protocol
	fault    fault
	caughtBy string
}{
	{SMTP, "CR CR LF unseen", "end.crcrlf-dot-crlf end.cr-crcrlf-dot-crlf"},
	{LMTP, "CR CR LF unseen", "end.crcrlf-dot-crlf"},
	{SMTP, `ends with \n.\n`, "end.lf-dot-lf"},
	{LMTP, `ends with \n.\n`, "end.lf-dot-lf"},
	{SMTP, `ends with \n.\r\n`, "end.lf-dot-crlf"},
	{SMTP, `ends with \r\n.\n`, "end.crlf-dot-lf"},
	{SMTP, `ends with \r.\r`, "end.cr-dot-cr"},
	{SMTP, `ends with \r.\r\n`, "end.cr-dot-crlf"},
	{SMTP, `ends with \r\n.\r`, "end.crlf-dot-cr end.crlf-dot-crcrlf end.almost"},
	{SMTP, `ends with \n.\r\r\n`, "end.lf-dot-crcrlf"},
	{SMTP, `ends with \n.\r`, "end.lf-dot-cr"},
	{SMTP, `ends with \r\n\x00.\r\n`, "end.crlf-nul-dot"},
	{SMTP, `ends with \r\n.\x00`, "end.crlf-dot-nul"},
	{SMTP, `ends with \r\n. \r\n`, "end.crlf-dot-space data.dot-text"},
	{SMTP, `ends with \r\n..\r\n`, "data.two-dots"},
	{SMTP, `ends with \r\nQUIT\r\n`, "data.commands"},
	{SMTP, `ends with \x00`, "data.nul"},
	{SMTP, `ends with \xff`, "data.8bit"},
	{SMTP, `ends with \x1a`, "data.control"},
	{SMTP, "no empty message", "data.empty"},
	{SMTP, "the dot ends nothing", "data.ends data.second"},
	{SMTP, "short lines", "limit.text-line limit.text-line-dot limit.long-text-line"},
	{SMTP, "short commands", "limit.command"},
	{SMTP, "50 recipients", "limit.recipients"},
	{SMTP, "LF ends a command", "line.bare-lf"},

	{SMTP, "STARTTLS keeps the input", "tls.injection"},
	{SMTP, "STARTTLS keeps the transaction", "tls.forgets-mail tls.forgets-hello"},
	{SMTP, "STARTTLS keeps EHLO", "tls.forgets-hello"},
	{SMTP, "STARTTLS again", "tls.again tls.not-offered-again"},
	{SMTP, "STARTTLS in the clear", "tls.garbage"},
	{SMTP, "old TLS", "tls.version"},
	{SMTP, "REQUIRETLS in the clear", "requiretls.clear"},

	{SMTP, "BDAT is not drained", "bdat.no-mail bdat.no-rcpt bdat.rcpt-refused bdat.not-last-drained bdat.each-drained bdat.bad-end"},
	{LMTP, "BDAT is not drained", "bdat.no-mail"},
	{SMTP, "BDAT 0 ends", "bdat.zero"},
	{SMTP, "DATA after BDAT", "bdat.data-after"},
	{SMTP, "sizes wrap", "bdat.overflow"},
	{SMTP, "SIZE is ignored", "size.too-large"},

	{LMTP, "one reply for all", "each.three each.second-message each.hundred each.chunk each.pipelined"},
	{LMTP, "replies for the refused", "each.refused-first each.refused-between each.none-accepted each.syntax-error"},
	{LMTP, "says hello to all", "lhlo.ehlo lhlo.helo"},
	{SMTP, "says hello to all", "helo.lhlo"},
	{LMTP, "no PIPELINING", "lhlo.pipelining"},
	{LMTP, "bad keywords", "lhlo.status lhlo.8bitmime"},

	{SMTP, "nested MAIL", "order.nested-mail order.nested-mail-late"},
	{SMTP, "DATA without recipients", "order.data-without-rcpt pipe.rcpt-refused rcpt.all-refused"},
	{SMTP, "RSET does nothing", "rset.ends"},
	{SMTP, "RSET keeps recipients", "rset.forgets-rcpt"},
	{SMTP, "EHLO keeps the transaction", "hello.resets hello.mail-after-reset helo.resets"},
	{SMTP, "stays open", "quit.code order.quit-first pipe.quit"},
	{SMTP, "case matters", "case.verb hello.case bdat.case"},
	{SMTP, "arguments pass", "argument.rset argument.data argument.quit tls.argument"},
	{SMTP, "no VRFY", "vrfy.supported"},
	{SMTP, "answers twice", "noop.code order.noop-first noop.keeps"},
	{SMTP, "forgets input after an error", "pipe.unknown-command"},
	{SMTP, "one write per reply", "pipe.one-batch"},

	{SMTP, "no null sender", "mail.null"},
	{SMTP, "no source routes", "mail.source-route"},
	{SMTP, "no postmaster", "rcpt.postmaster rcpt.postmaster-case"},
	{SMTP, "quotes matter", "rcpt.quoted rcpt.quoted-pair"},
	{SMTP, "parameters pass", "mail.unknown-parameter mail.same-twice rcpt.unknown-parameter dsn.never-alone dsn.orcpt-no-type body.unknown utf8.value"},
	{SMTP, "UTF-8 unannounced", "utf8.sender utf8.status"},
	{SMTP, "open relay", "relay.plain relay.route relay.percent-literal"},
	{SMTP, "percent hack", "relay.percent relay.percent-literal"},

	{SMTP, "greets nameless", "greeting.domain"},
	{SMTP, "bad keywords", "hello.keywords size.keyword limit.keyword binary.chunking utf8.8bitmime"},
	{SMTP, "reply ends with LF", "reply.line-end"},
	{SMTP, "reply with 8 bits", "reply.ascii"},
	{SMTP, "reply of 600 octets", "reply.length"},
	{SMTP, "reply with code 999", "reply.code"},
	{SMTP, "reply with a tab", "reply.separator"},
	{SMTP, "two codes in a reply", "reply.same-code"},
	{SMTP, "two states in a reply", "status.same"},
	{SMTP, "reply without status", "status.each-line status.unknown-user"},
	{SMTP, "reply of another class", "status.class"},
	{SMTP, "impatient", "slow.command slow.greeting slow.data"},
	{SMTP, "impatient and silent", "slow.421"},
}

func TestFaults(t *testing.T) {
	config := certificate(t)
	for _, tt := range faults {
		t.Run(string(tt.protocol)+" "+string(tt.fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := &server{protocol: tt.protocol, fault: tt.fault, config: config}
				for id := range strings.FieldsSeq(tt.caughtBy) {
					checks, err := Select(Checks(tt.protocol), []string{id})
					if err != nil {
						t.Fatal(err)
					}
					r := check(t, target(srv), checks)[0]
					want := Failed
					if r.Level == Should {
						want = Warning
					}
					if r.Status != want {
						t.Errorf("%s: %s: %s\n%s", id, r.Status, r.Detail, strings.Join(r.Dialogue, "\n"))
					}
				}
			})
		})
	}
}

// Every check fails at some server: those that TestFaults has, and such as answer
// everything alike after some commands that they have understood.
func TestEveryCheckCanFail(t *testing.T) {
	config := certificate(t)
	for _, protocol := range []Protocol{SMTP, LMTP} {
		left := make(map[string]bool)
		for _, c := range Checks(protocol) {
			left[c.ID] = true
		}
		for _, tt := range faults {
			for id := range strings.FieldsSeq(tt.caughtBy) {
				delete(left, id)
			}
		}
		for fault := range blind {
			for patience := 1; patience < 12; patience++ {
				synctest.Test(t, func(t *testing.T) {
					srv := &server{protocol: protocol, fault: fault, config: config, patience: patience}
					checks := slices.DeleteFunc(Checks(protocol), func(c Check) bool { return !left[c.ID] })
					aim := target(srv)
					aim.Insecure, aim.Port = false, "25"
					for _, r := range check(t, aim, checks) {
						if r.Status == Failed || r.Status == Warning {
							delete(left, r.ID)
						}
					}
				})
			}
		}
		for id := range left {
			t.Errorf("%s %s cannot fail", protocol, id)
		}
	}
}

// A server that does not let us begin is an error.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := Start(t.Context(), target(&server{protocol: SMTP, fault: "greets with 554"}))
		if err == nil || !strings.Contains(err.Error(), "554 no") {
			t.Errorf("greeted with 554: %v", err)
		}
		_, err = Start(t.Context(), target(&server{protocol: LMTP}).asSMTP())
		if err == nil || !strings.Contains(err.Error(), "500 5.5.1 wrong protocol") {
			t.Errorf("an LMTP server: %v", err)
		}
	})
}

func (t Target) asSMTP() Target {
	t.Protocol = SMTP
	return t
}

// What is not there is said, and what the server refuses beforehand is not taken
// for the answer.
func TestSkippedAndUnclear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bare := target(&server{protocol: SMTP, config: certificate(t)})
		bare.To, bare.From, bare.Unknown, bare.Slow, bare.MaxSend, bare.Insecure = "", "", "", false, 0, false
		elsewhere := target(&server{protocol: SMTP})
		elsewhere.To = "ann@elsewhere.example"
		for _, tt := range []struct {
			target Target
			id     string
			status Status
			detail string
		}{
			{bare, "rcpt.known", Skipped, "needs --to"},
			{bare, "mail.address", Skipped, "needs --from"},
			{bare, "rcpt.unknown", Skipped, "needs --unknown"},
			{bare, "slow.421", Skipped, "needs --slow"},
			{bare, "dsn.not-offered", Skipped, "DSN is offered"},
			{bare, "mail.null", Passed, ""},
			{bare, "tls.certificate", Warning, "certificate"},
			{elsewhere, "end.lf-dot-lf", Unclear, "RCPT TO:<ann@elsewhere.example> was answered with 550"},
			{elsewhere, "rcpt.known", Failed, "expected 250|251|252, heard 550 5.7.1"},
		} {
			checks, err := Select(Checks(SMTP), []string{tt.id})
			if err != nil {
				t.Fatal(err)
			}
			r := check(t, tt.target, checks)[0]
			if r.Status != tt.status || !strings.Contains(r.Detail, tt.detail) {
				t.Errorf("%s: %s: %s", tt.id, r.Status, r.Detail)
			}
		}
	})
}

// A server that has gone is not waited for at each check.
func TestServerGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		aim := target(&server{protocol: SMTP, config: certificate(t)})
		run, err := Start(t.Context(), aim)
		if err != nil {
			t.Fatal(err)
		}
		run.target.Dial = func(context.Context) (net.Conn, error) {
			client, conn := net.Pipe()
			t.Cleanup(func() { conn.Close() })
			return client, nil
		}
		start := time.Now()
		for _, c := range Checks(SMTP) {
			if r := run.Check(t.Context(), c); r.Status != Unclear && r.Status != Skipped {
				t.Errorf("%s: %s", r.ID, r.Status)
			}
		}
		if took := time.Since(start); took != maxAbsent*aim.Timeout {
			t.Errorf("waited %v for a server that has gone", took)
		}
	})
}

// The tables are what they say they are.
func TestChecks(t *testing.T) {
	if n := len(Checks(SMTP)); n < 90 {
		t.Errorf("only %d checks of SMTP", n)
	}
	if n := len(Checks(LMTP)); n < 35 {
		t.Errorf("only %d checks of LMTP", n)
	}
	for _, protocol := range []Protocol{SMTP, LMTP} {
		seen := make(map[string]bool)
		for _, c := range Checks(protocol) {
			switch {
			case seen[c.ID]:
				t.Errorf("%s comes twice", c.ID)
			case len(c.ID) > 24 || len(c.Title) > 50 || c.Title == "" || !strings.HasPrefix(c.Section, "RFC ") && !strings.HasPrefix(c.Section, "draft-"):
				t.Errorf("%+v is not well described", c)
			case (c.run == nil) == (c.play == ""):
				t.Errorf("%s has not one way to run", c.ID)
			case c.Level != Must && c.Level != Should:
				t.Errorf("%s: level %q", c.ID, c.Level)
			}
			seen[c.ID] = true
			for word := range strings.FieldsSeq("to from unknown") {
				uses := strings.Contains(c.play, "$"+word) || word == "to" && strings.Contains(c.play, "$domain")
				if uses && word != "from" && !slices.Contains(strings.Fields(c.needs), word) {
					t.Errorf("%s uses $%s and does not need it", c.ID, word)
				}
			}
		}
	}
	for _, rule := range rules {
		if _, err := Select(replyChecks, []string{rule.id}); err != nil {
			t.Errorf("no check tells of the rule %s", rule.id)
		}
	}
}

func TestSelect(t *testing.T) {
	checks := Checks(SMTP)
	tests := []struct {
		patterns []string
		want     int // 0: an error
	}{
		{nil, len(checks)},
		{[]string{"mail.null"}, 1},
		{[]string{"mail.null", "mail.n*l"}, 1},
		{[]string{"end.*"}, len(endChecks)},
		{[]string{"mail.null", "no.such"}, 0},
		{[]string{"["}, 0},
		{[]string{"lhlo.code"}, 0},
	}
	for _, tt := range tests {
		got, err := Select(checks, tt.patterns)
		if len(got) != tt.want || (err == nil) != (tt.want > 0) {
			t.Errorf("%q: %d checks, %v", tt.patterns, len(got), err)
		}
	}
}

// The report fits a terminal and says what is wrong, in what section, and how
// that came out.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{protocol: SMTP, fault: `ends with \n.\n`, config: certificate(t)}
		aim := target(srv)
		aim.Slow = false
		results := check(t, aim, Checks(SMTP))
		var text strings.Builder
		for _, r := range results {
			if err := WriteRow(&text, r, true); err != nil {
				t.Fatal(err)
			}
		}
		if err := WriteSummary(&text, results); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text.String()) {
			if len(line) > 81 {
				t.Errorf("%d columns: %s", len(line)-1, line)
			}
		}
		for _, want := range []string{
			"\nFAIL end.lf-dot-lf            LF . LF does not end a message\n",
			"     RFC 5321, 4.1.1.4 MUST: LF . LF does not end a message\n",
			"     what stands behind an ending that is none was executed: QUIT was answered\n",
			"       C: text<LF>\n       C: .<LF>\n       C: NOOP\n",
			"skip slow.421                 needs --slow\n",
			" 2 failed, 0 warnings, ",
			"  skipped 4: needs --slow\n",
		} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("the report lacks %q", want)
			}
		}
		if _, err := json.Marshal(results); err != nil {
			t.Error(err)
		}
	})
}

func TestVisible(t *testing.T) {
	tests := []struct{ line, want string }{
		{"NOOP\r\n", "NOOP"},
		{"\r\n", ""},
		{"a\rb\x00\xff\n", "a<CR>b<00><FF><LF>"},
		{"RSE", "RSE (no line end)"},
		{strings.Repeat("x", 200) + "\r\n", strings.Repeat("x", 71) + "... (202 octets)"},
	}
	for _, tt := range tests {
		if got := visible(tt.line); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.line, got, tt.want)
		}
	}
}

// Whatever a server says, a reply of it can be read, and no rule of form breaks
// down over it.
func FuzzReply(f *testing.F) {
	for _, seed := range []string{"250 ok\r\n", "250-a\r\n250 2.0.0 b\r\n", "25\n", "250\n", "\n", "250-\xff\x00\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var r Reply
		for line := range strings.Lines(text) {
			if r.add(line) || r.Err != nil {
				break
			}
		}
		for _, rule := range rules {
			rule.broken(r, mode{status: true})
			rule.broken(r, mode{utf8: true})
		}
		if r.Err == nil && len(r.raw) > 0 && (r.Code < 0 || r.Code > 999 || len(r.Lines) != len(r.raw)) {
			t.Errorf("%q: %+v", text, r)
		}
		if shown := r.String() + visible(text); strings.ContainsAny(shown, "\r\n\x00\x1b") {
			t.Errorf("%q is shown as %q", text, shown)
		}
	})
}

package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"text/tabwriter"

	"postern/internal/story"
	"postern/mail"
	"postern/policy"
)

// A talk is a dialogue from the client's side.
type talk struct {
	conn *textproto.Conn
	said []Said
}

// speak says all that is to be said. The error is of the connection: what the
// server refuses is an answer.
func (t *try) speak(nc net.Conn, message []byte) (said []Said, err error) {
	k := &talk{conn: textproto.NewConn(nc)}
	defer func() { said = k.said }()
	if ok, err := k.hear(""); !ok {
		return nil, err
	}
	if ok, err := k.say("EHLO %s", t.helo); !ok {
		return nil, err
	}
	if t.tls {
		if err := t.startTLS(k, nc); err != nil {
			return nil, err
		}
	}
	if ok, err := k.say("MAIL FROM:<%s>%s", strings.Trim(t.from, "<>"), t.params()); !ok {
		return nil, err
	}
	taken := false
	for _, to := range t.to {
		ok, err := k.say("RCPT TO:<%s>", strings.Trim(to, "<>"))
		if err != nil {
			return nil, err
		}
		taken = taken || ok
	}
	if taken && message != nil {
		if err := k.send(message); err != nil {
			return nil, err
		}
	}
	_, err = k.say("QUIT")
	return nil, err
}

// params returns those of MAIL that the addresses need.
func (t *try) params() string {
	if slices.ContainsFunc(append([]string{t.from}, t.to...), func(s string) bool {
		return !(mail.Address{Local: s}).IsASCII()
	}) {
		return " SMTPUTF8"
	}
	return ""
}

// startTLS goes on in TLS if the server has it, else in the clear.
func (t *try) startTLS(k *talk, nc net.Conn) error {
	if ok, err := k.say("STARTTLS"); !ok {
		return err
	}
	secure := tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) // the certificate is not what is tried
	if err := secure.Handshake(); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	k.conn = textproto.NewConn(secure)
	_, err := k.say("EHLO %s", t.helo)
	return err
}

// say says a line, and reports whether the server agrees.
func (k *talk) say(format string, args ...any) (bool, error) {
	line := fmt.Sprintf(format, args...)
	if strings.ContainsAny(line, "\r\n") {
		return false, fmt.Errorf("%q is more than a line", line)
	}
	if err := k.conn.PrintfLine("%s", line); err != nil {
		return false, err
	}
	return k.hear(line)
}

// hear reads the answer to line.
func (k *talk) hear(line string) (bool, error) {
	code, text, err := k.conn.ReadResponse(0)
	if err != nil {
		return false, err
	}
	k.said = append(k.said, Said{Client: line, Code: code, Text: text})
	return code/100 == 2 || code/100 == 3, nil
}

// send sends the message.
func (k *talk) send(message []byte) error {
	if ok, err := k.say("DATA"); !ok {
		return err
	}
	w := k.conn.DotWriter()
	if _, err := w.Write(message); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, err := k.hear("(the message)")
	return err
}

// print tells people what came of it.
func (t Try) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range t.Dialogue {
		first, _, _ := strings.Cut(s.Text, "\n")
		fmt.Fprintf(tw, "%s\t%d %s\n", s.Client, s.Code, first)
	}
	r := t.Transaction
	if r == nil {
		return tw.Flush()
	}
	fmt.Fprintln(tw)
	for _, rcpt := range r.Recipients {
		printDecision(tw, "judged "+rcpt.To.Path(), rcpt.Decision)
	}
	if r.Verdict != nil {
		printDecision(tw, "judged the message", r.Verdict.Decision)
		fmt.Fprintln(tw)
		story.PrintEvidence(tw, r)
	}
	if len(r.Asked) > 0 {
		fmt.Fprintln(tw, "\nThe DNS was asked:")
		story.PrintExchanges(tw, r.Asked)
	}
	if err := tw.Flush(); err != nil || t.Fields == "" {
		return err
	}
	_, err := fmt.Fprintf(w, "\nOn top of the message:\n%s", strings.ReplaceAll(t.Fields, "\r\n", "\n"))
	return err
}

func printDecision(w io.Writer, what string, d policy.Decision) {
	fmt.Fprintf(w, "%s:\t%s\n", what, d.Action)
	for _, demand := range d.Demands {
		fmt.Fprintf(w, "    %s wants:\t%s, for %s\n", demand.By, demand.Action, demand.Why)
		if demand.Pardon != "" {
			fmt.Fprintf(w, "    pardoned:\t%s\n", demand.Pardon)
		}
	}
}

package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	netmail "net/mail"
	netsmtp "net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"postern/internal/peer"
)

// clients are those of the table, in its order.
var clients = []client{
	{name: "Postfix", version: output(`mail_version = (\S+)`, "postconf", "-d", "mail_version"), open: openPostfix},
	{name: "Exim", version: eximVersion, open: openExim},
	{name: "OpenSMTPD", version: func(t *testing.T) string { return peer.OpenSMTPDVersion(t) }, open: openOpenSMTPD, cannot: []string{"UTF-8"}},
	{name: "swaks", version: output(`swaks version (\S+)`, "swaks", "--version"), open: each(swaks, parcel.unended), cannot: []string{"empty", "UTF-8"}},
	{name: "curl", version: output(`curl (\S+)`, "curl", "--version"), open: each(curl, parcel.text)},
	{name: "msmtp", version: output(`msmtp version (\S+)`, "msmtp", "--version"), open: each(msmtp, parcel.text), cannot: []string{"UTF-8"}},
	{name: "s-nail", version: output(`s-nail v(\S+),`, "s-nail", "--version"), open: each(snail, parcel.body), composes: true, cannot: []string{"UTF-8"}},
	{name: "Python smtplib", version: output(`Python (\S+)`, "python3", "--version"), open: each(smtplib, parcel.text)},
	{name: "Nodemailer", version: output(`"version": "(\S+)"`, "cat", "/usr/share/nodejs/nodemailer/package.json"), open: each(nodemailer, parcel.text)},
	{name: "Go net/smtp", version: func(*testing.T) string { return strings.TrimPrefix(runtime.Version(), "go") }, open: openNetSMTP},
	{name: "emersion/go-smtp", version: output(`v(\S+)`, "go", "list", "-m", "github.com/emersion/go-smtp"), open: openGoSMTP},
}

// output returns a function that finds the version in what a program says.
func output(pattern, program string, args ...string) func(*testing.T) string {
	return func(t *testing.T) string {
		out, err := exec.Command(peer.Need(t, program)[0], args...).CombinedOutput()
		m := regexp.MustCompile(pattern).FindSubmatch(out)
		if m == nil {
			t.Fatalf("%s: %v: no version in %q", program, err, out)
		}
		return string(m[1])
	}
}

// each makes a client of a command that sends one message, of which it reads on
// stdin what feed says.
func each(command func(j job, p parcel) []string, feed func(parcel) string) func(*testing.T, job) (func(parcel), func()) {
	return func(t *testing.T, j job) (func(parcel), func()) {
		return func(p parcel) {
			t.Helper()
			args := command(j, p)
			cmd := exec.Command(peer.Need(t, args[0])[0], args[1:]...)
			cmd.Stdin = strings.NewReader(feed(p))
			cmd.Env = append(os.Environ(), "NODE_PATH=/usr/share/nodejs", "HOME=/nonexistent")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %q: %v\n%s", p.kind, args, err, out)
			}
		}, nil
	}
}

func swaks(j job, p parcel) []string {
	args := []string{"swaks", "--server", j.addr, "--from", p.from, "--to", strings.Join(p.to, ","), "--helo", "mail.sender.example", "--data", "-"}
	if j.tls {
		args = append(args, "--tls", "--tls-verify", "--tls-ca-path", j.ca)
	}
	return args
}

func curl(j job, p parcel) []string {
	args := []string{"curl", "-sS", "--crlf", "--upload-file", "-", "--mail-from", p.from, "smtp://" + localhost(j.addr) + "/mail.sender.example"}
	for _, to := range p.to {
		args = append(args, "--mail-rcpt", to)
	}
	if j.tls {
		args = append(args, "--ssl-reqd", "--cacert", j.ca)
	}
	return args
}

func msmtp(j job, p parcel) []string {
	host, port, _ := strings.Cut(localhost(j.addr), ":")
	args := []string{"msmtp", "--file=/dev/null", "--host=" + host, "--port=" + port, "--from=" + p.from, "--domain=mail.sender.example"}
	if j.tls {
		args = append(args, "--tls=on", "--tls-starttls=on", "--tls-trust-file="+j.ca)
	}
	return append(append(args, "--"), p.to...)
}

// snail is a mail reader of the old kind: it takes the text from stdin.
func snail(j job, p parcel) []string {
	args := []string{"s-nail", "-:/", "-s", p.kind, "-S", "v15-compat", "-S", "mta=smtp://" + localhost(j.addr), "-S", "smtp-auth=none", "-S", "nosave", "-S", "DEAD=/dev/null",
		"-S", "mime-encoding=8b", "-S", "sendcharsets=utf-8", "-S", "ttycharset=utf-8", "-S", "from=" + p.from, "-S", "fullnames", "-r", p.from}
	if j.tls {
		args = append(args, "-S", "smtp-use-starttls", "-S", "tls-ca-no-defaults", "-S", "tls-ca-file="+j.ca, "-S", "tls-verify=strict")
	}
	return append(args, p.to...)
}

func smtplib(j job, p parcel) []string { return script(j, p, "python3", "send.py") }

func nodemailer(j job, p parcel) []string { return script(j, p, "node", "send.js") }

// script runs one of testdata/clients.
func script(j job, p parcel, interpreter, name string) []string {
	ca := "-"
	if j.tls {
		ca = j.ca
	}
	return append([]string{interpreter, filepath.Join("testdata", "clients", name), j.addr, ca, p.from}, p.to...)
}

// localhost returns addr by the name that the certificate is for.
func localhost(addr string) string { return "localhost" + addr[strings.LastIndexByte(addr, ':'):] }

// relay returns what hands parcels to a server that sends them on.
func relay(t *testing.T, addr string) func(parcel) {
	return func(p parcel) {
		t.Helper()
		c, err := peer.Dial(t.Context(), peer.SMTP, "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if p.utf8 {
			c.MailParams = "SMTPUTF8"
		}
		replies, err := c.Send(p.from, p.to, []byte(p.octets))
		if err != nil {
			t.Fatal(p.kind, err)
		}
		for _, r := range replies {
			if !r.Positive() {
				t.Fatal(p.kind, r)
			}
		}
	}
}

func openPostfix(t *testing.T, j job) (func(parcel), func()) {
	level := "none"
	if j.tls {
		level = "encrypt"
	}
	postfix := peer.StartPostfix(t, peer.PostfixConfig{Transport: peer.SMTPTo(j.addr), TLS: level, RecipientLimit: 100})
	return relay(t, postfix.Addr), func() { postfix.WaitEmpty(time.Minute) }
}

func openExim(t *testing.T, j job) (func(parcel), func()) {
	which := "hosts_avoid_tls = *"
	if j.tls {
		which = "hosts_require_tls = *"
	}
	exim := peer.StartExim(t, j.addr, which, "hosts_try_prdr = *")
	return relay(t, exim.Addr), func() { exim.WaitEmpty(time.Minute) }
}

func eximVersion(t *testing.T) string { return peer.EximVersion(t) }

func openOpenSMTPD(t *testing.T, j job) (func(parcel), func()) {
	opensmtpd := peer.StartOpenSMTPD(t, j.addr, j.tls)
	return relay(t, opensmtpd.Addr), func() { opensmtpd.WaitEmpty(time.Minute) }
}

// trusting returns a configuration that trusts the certificate in the file.
func trusting(t *testing.T, file string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{ServerName: "localhost", RootCAs: pool}
}

func openNetSMTP(t *testing.T, j job) (func(parcel), func()) {
	c, err := netsmtp.Dial(localhost(j.addr))
	if err != nil {
		t.Fatal(err)
	}
	must(t, c.Hello("mail.sender.example"))
	if j.tls {
		must(t, c.StartTLS(trusting(t, j.ca)))
	}
	return func(p parcel) {
		t.Helper()
		must(t, c.Mail(p.from))
		for _, to := range p.to {
			must(t, c.Rcpt(to))
		}
		w, err := c.Data()
		must(t, err)
		_, err = io.WriteString(w, p.octets)
		must(t, err)
		must(t, w.Close())
	}, func() { must(t, c.Quit()) }
}

func openGoSMTP(t *testing.T, j job) (func(parcel), func()) {
	var c *gosmtp.Client
	var err error
	if j.tls {
		c, err = gosmtp.DialStartTLS(localhost(j.addr), trusting(t, j.ca))
	} else {
		c, err = gosmtp.Dial(localhost(j.addr))
	}
	if err != nil {
		t.Fatal(err)
	}
	return func(p parcel) {
		t.Helper()
		must(t, c.Mail(p.from, &gosmtp.MailOptions{Size: int64(len(p.octets)), UTF8: p.utf8, Body: gosmtp.Body8BitMIME}))
		for _, to := range p.to {
			must(t, c.Rcpt(to, nil))
		}
		w, err := c.Data()
		must(t, err)
		_, err = io.WriteString(w, p.octets)
		must(t, err)
		must(t, w.Close())
	}, func() { must(t, c.Quit()) }
}

// decoded returns the text of a message of one part.
func decoded(stored []byte) (string, error) {
	msg, err := netmail.ReadMessage(bytes.NewReader(stored))
	if err != nil {
		return "", err
	}
	body := msg.Body
	switch encoding := strings.ToLower(msg.Header.Get("Content-Transfer-Encoding")); encoding {
	case "", "7bit", "8bit":
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	default:
		return "", fmt.Errorf("Content-Transfer-Encoding %q", encoding)
	}
	text, err := io.ReadAll(body)
	return string(text), err
}

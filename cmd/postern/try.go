package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"postern/mail"
	"postern/mx"
	"postern/policy"
	"postern/smtp"
)

func tryCommand(stdio stdio) *cobra.Command {
	t := &try{io: stdio}
	var ip string
	cmd := &cobra.Command{
		Use:   "try --ip IP [--helo NAME] [--from ADDRESS] --to ADDRESS... [FILE]",
		Short: "Say what would become of a message, and why",
		Long:  tryLong,
		Example: `  postern try --ip 192.0.2.7 --helo mail.client.example --from ann@client.example \
    --to bob@example.com message.eml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if t.ip, err = netip.ParseAddr(ip); err != nil {
				return usage("--ip %q is not an address", ip)
			}
			if t.helo == "" {
				t.helo = literal(t.ip)
			}
			t.config = configPath(cmd)
			if len(args) > 0 {
				t.file = args[0]
			}
			return t.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&ip, "ip", "", "the client's `address`")
	flags.StringVar(&t.helo, "helo", "", "what the client calls itself: a `name`; empty: its address in brackets")
	flags.StringVar(&t.from, "from", "", "the envelope sender's `address`; empty: the null sender")
	flags.StringArrayVar(&t.to, "to", nil, "a recipient's `address`; may be given several times")
	flags.BoolVar(&t.tls, "tls", false, "say STARTTLS")
	flags.BoolVar(&t.json, "json", false, "print JSON, with all the evidence")
	for _, name := range []string{"ip", "to"} {
		_ = cmd.MarkFlagRequired(name) // fails for an unknown flag alone
	}
	return cmd
}

// literal returns an address as a client calls itself that has no name (RFC 5321,
// section 4.1.3).
func literal(ip netip.Addr) string {
	if ip.Unmap().Is4() {
		return "[" + ip.Unmap().String() + "]"
	}
	return "[IPv6:" + ip.WithZone("").String() + "]"
}

// A try is one dialogue that is tried.
type try struct {
	io         stdio
	config     string
	ip         netip.Addr
	helo, from string
	to         []string
	tls, json  bool
	file       string // of the message; empty: none

	server  *mx.Server
	records []*policy.Record
	stored  *dry
}

func (t *try) run(ctx context.Context) error {
	message, err := t.message()
	if err != nil {
		return err
	}
	if err := t.prepare(ctx); err != nil {
		return err
	}
	said, err := t.play(ctx, message)
	if err != nil {
		return fmt.Errorf("the server broke off: %w", err)
	}
	result := Try{Dialogue: said, Fields: t.stored.fields}
	for _, r := range t.records {
		result.Transaction = r // there is one
	}
	if t.json {
		err = printJSON(t.io.out, result)
	} else {
		err = result.print(t.io.out)
	}
	if err != nil {
		return err
	}
	return result.exit()
}

// message reads the message, its lines ending in CRLF; nil if there is none.
func (t *try) message() ([]byte, error) {
	if t.file == "" {
		return nil, nil
	}
	in := t.io.in
	if t.file != "-" {
		f, err := os.Open(t.file)
		if err != nil {
			return nil, exitCode{exitUsage, err}
		}
		defer f.Close()
		in = f
	}
	var b bytes.Buffer
	if _, err := io.Copy(&smtp.LineEnder{W: &b}, in); err != nil {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	return b.Bytes(), nil
}

// prepare makes a server of the configuration that stores nothing.
func (t *try) prepare(ctx context.Context) error {
	p, err := load(t.config, io.Discard, "")
	if err != nil {
		return err
	}
	judge, err := p.judging()
	if err != nil {
		return err
	}
	judge.Health.Check(ctx) // as a server does at its start
	judge.ByClient, judge.ByRecipient = nil, nil
	judge.Closed = func(r *policy.Record) { t.records = append(t.records, r) }
	t.stored = &dry{directory: directory{p.recipients.Current()}}
	t.server = p.mxServer(judge.Judge)
	t.server.Next, t.server.Spool = t.stored, p.spool("")
	if !t.tls {
		return nil // the key may be for others to read
	}
	certs, err := p.certificates()
	if certs != nil {
		t.server.TLS = certs.Config()
	}
	return err
}

// play has a client speak with the server, and returns what was said.
func (t *try) play(ctx context.Context, message []byte) ([]Said, error) {
	ctx, stop := context.WithCancel(ctx)
	client, server := net.Pipe()
	var serving sync.WaitGroup
	serving.Go(func() {
		l := &oneConn{nc: at{server, netip.AddrPortFrom(t.ip, 25)}, done: ctx.Done()}
		_ = t.server.Serve(ctx, mx.Listener{Listener: l}) // a listener that is closed is no failure
	})
	defer serving.Wait()
	defer stop()
	defer client.Close()
	if err := client.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		return nil, err
	}
	return t.speak(client, message)
}

// A oneConn is a listener with one connection to come.
type oneConn struct {
	once sync.Once
	nc   net.Conn
	done <-chan struct{}
}

func (l *oneConn) Accept() (nc net.Conn, err error) {
	l.once.Do(func() { nc = l.nc })
	if nc != nil {
		return nc, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{Port: 25} }

// at is a connection from somewhere.
type at struct {
	net.Conn
	peer netip.AddrPort
}

func (a at) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(a.peer) }

// A dry is a next hop that knows the mailboxes of the maps, and stores nothing.
type dry struct {
	directory directory
	fields    string // that we put on top of the message
}

// Verify implements mail.Deliverer.
func (d *dry) Verify(_ context.Context, _ *mail.Envelope, rcpt mail.Recipient) error {
	_, err := d.directory.Expand(rcpt.Address)
	return err
}

// Deliver implements mail.Deliverer.
func (d *dry) Deliver(_ context.Context, env *mail.Envelope, msg *mail.Message) []mail.Reply {
	d.fields = msg.Trace()
	replies := make([]mail.Reply, len(env.To))
	for i := range replies {
		replies[i] = mail.Accepted
	}
	_, err := msg.WriteTo(io.Discard)
	if err != nil {
		replies[0] = mail.ReplyTo(err)
	}
	return replies
}

// A Try is what came of a dialogue that was tried.
type Try struct {
	Dialogue    []Said
	Transaction *policy.Record // nil: it did not come to one
	Fields      string         // that would be put on top of the message
}

// Said is a command, and what the server answered.
type Said struct {
	Client string // "MAIL FROM:<ann@client.example>"; empty: the greeting
	Code   int
	Text   string
}

// exit returns the exit code for what was said.
func (t Try) exit() error {
	worst := 0
	for _, s := range t.Dialogue {
		switch {
		case s.Code >= 500:
			worst = exitDataErr
		case s.Code >= 400 && worst == 0:
			worst = exitTempFail
		}
	}
	if worst != 0 {
		return exitCode{code: worst}
	}
	return nil
}

const tryLong = `Speaks SMTP with a server that is made for it from the configuration, as a client
at the given address would, and says what it hears and why. The code is that of
the real server, down to the delivery: nothing is delivered, and nothing is
remembered. The DNS is asked, and so are DNS lists and filters. What only a
running server knows, how much came from whom in the last hour, is not looked at.

FILE is the message, "-" for standard input; its lines may end in LF. Without one,
the recipients alone are tried.

Exit codes, as in sysexits.h: 0 everything is taken; 65 something is refused for
good; 75 something is refused for now; 64 the command line is wrong, or FILE cannot
be opened; 1 it could not be tried, for the configuration is broken, say.`

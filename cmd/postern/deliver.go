package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/spool"
	"postern/mail"
	"postern/smtp"
)

// The exit codes of sysexits.h that a mail system which calls us understands.
const (
	exitUsage    = 64
	exitDataErr  = 65
	exitNoUser   = 67
	exitTempFail = 75
)

const deliverName = "deliver"

func deliverCommand(stdio stdio) *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use:   deliverName + " --to ADDRESS [--from ADDRESS]",
		Short: "Deliver one message from standard input into a mailbox",
		Long:  deliverLong,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return deliver(cmd.Context(), configPath(cmd), stdio.in, from, to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the recipient's `address`")
	cmd.Flags().StringVar(&from, "from", "", "the envelope sender's `address`; empty: the null sender")
	return cmd
}

func deliver(ctx context.Context, config string, in io.Reader, from, to string) (err error) {
	defer func() {
		if p := recover(); p != nil { // a caller takes the code of a panic for a refusal
			err = exitCode{exitTempFail, fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	env := mail.Envelope{ID: mail.NewID(time.Now())}
	rcpt, ok := smtp.ParseAddress(bare(to))
	if !ok {
		return usage("--to %q is not an address", to)
	}
	env.To = []mail.Recipient{{Address: rcpt}}
	if from != "" && from != "<>" {
		if env.From, ok = smtp.ParseAddress(bare(from)); !ok {
			return usage("--from %q is not an address", from)
		}
	}
	reply, err := deliverOne(ctx, config, in, &env)
	switch {
	case err != nil:
		return exitCode{exitTempFail, err}
	case reply.OK():
		return nil
	case reply.Temporary():
		return exitCode{exitTempFail, reply}
	case reply.Status == mail.NoSuchUser.Status:
		return exitCode{exitNoUser, reply}
	}
	return exitCode{exitDataErr, reply}
}

// bare returns an address without the angle brackets that some systems give it.
func bare(address string) string {
	inner, begins := strings.CutPrefix(address, "<")
	inner, ends := strings.CutSuffix(inner, ">")
	if begins && ends {
		return inner
	}
	return address
}

// deliverOne delivers the message that in holds. Its lines may end in LF, and an
// mbox separator before it is left out, since pipe transports add one.
func deliverOne(ctx context.Context, config string, in io.Reader, env *mail.Envelope) (mail.Reply, error) {
	b, err := newParts(config, io.Discard)
	if err != nil {
		return mail.Reply{}, err
	}
	was, err := b.recall()
	if err != nil {
		return mail.Reply{}, err
	}
	store, err := b.openStore(nil)
	if err != nil {
		return mail.Reply{}, err
	}
	defer store.Close()
	body := b.spool(b.config.MDA.Spool).New()
	defer body.Close()
	if err := readMessage(body, in); err != nil {
		return mail.Reply{}, fmt.Errorf("read the message: %w", err)
	}
	agent := b.agent(store)
	agent.Lookup = was.hesitant(agent.Lookup)
	return mail.Deliver(ctx, agent, env, mail.NewMessage(body))[0], nil
}

func readMessage(body *spool.Buffer, in io.Reader) error {
	r := bufio.NewReader(in)
	if start, err := r.Peek(5); err == nil && string(start) == "From " {
		if _, err := r.ReadSlice('\n'); err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
	_, err := io.Copy(&smtp.LineEnder{W: body}, r)
	return err
}

const deliverLong = `Reads a message from standard input and delivers it as the delivery agent would,
without asking a running one: as the same user, with the same guarantee. For
other mail systems' pipe transports, and for putting a message back.

Where a recipient map is broken or gone, the last good one serves, as a server has
kept it (in the state folder). Nobody is refused by an old map, nor by one that is
newer than that of a server and lacks the recipient: that is put off. So is mail for
a domain that no map has, for whoever calls us takes it for ours. Where no server
runs any more, remove what it has kept: <state>/mx/maps and <state>/mda/maps.

Exit codes, as in sysexits.h: 0 it is on stable storage; 67 no such user; 65 the
message is refused; 75 anything else, a wrong command line among it: try again.`

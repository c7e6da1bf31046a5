package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/control"
	"postern/internal/refused"
	"postern/mail"
	"postern/policy"
)

func releaseCommand(stdio stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "release ID",
		Short: "Deliver a message that was refused",
		Long: `Has the running MX deliver a message that it refused after the data and kept
(policy.keep_refused), as it came, and to the recipients that it was for. The
sender was told that it was refused, and is told nothing now. What is delivered is
kept no longer. postern why names the messages that are kept.

Exit codes, as in sysexits.h: 0 all have it; 75 some may get it later, by the same
command; 65 it is refused again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := askingOf(cmd, stdio).acting().settings()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 6*time.Minute) // the next hop has five
			defer cancel()
			var came []policy.Delivery
			err = control.Call(ctx, c.MX.Control, verbRelease, args[0], &came)
			if control.NotRunning(err) {
				return fmt.Errorf("the MX does not run, and only it can deliver: %w", err)
			}
			if err != nil {
				return err
			}
			return tellReleased(stdio.out, came)
		},
	}
}

// tellReleased says what came of each mailbox.
func tellReleased(w io.Writer, came []policy.Delivery) error {
	code := 0
	for _, d := range came {
		if _, err := fmt.Fprintf(w, "%v: %v\n", d.To, d.Reply); err != nil {
			return err
		}
		switch {
		case d.Reply.OK():
		case d.Reply.Temporary():
			code = exitTempFail
		case code == 0:
			code = exitDataErr
		}
	}
	if code != 0 {
		return exitCode{code: code}
	}
	return nil
}

// verbRelease is what the control socket is asked for to deliver a message that
// was refused. The argument is its ID, the answer the policy.Deliveries.
const verbRelease = "release"

// refusedFolder is where refused messages are kept, in the state folder of the MX.
const refusedFolder = "refused"

// refusedMail returns what keeps messages of the MX that were refused, nil if
// that is not wanted.
func (p *parts) refusedMail() *refused.Keeper {
	c := p.config.Policy
	if c.KeepRefused == 0 || p.state == "" {
		return nil
	}
	return refused.New(p.kept(refusedFolder), c.KeepRefused, c.KeepRefusedSize, p.log)
}

// A releaser delivers what was refused.
type releaser struct {
	*parts
	refused *refused.Keeper
	next    *nextHop
}

func (r *releaser) verb(ctx context.Context, arg json.RawMessage) (any, error) {
	var id string
	if err := json.Unmarshal(arg, &id); err != nil {
		return nil, fmt.Errorf("release: %w", err)
	}
	return r.release(ctx, id)
}

// release delivers the message id, and keeps it for those who did not get it.
func (r *releaser) release(ctx context.Context, id string) ([]policy.Delivery, error) {
	env, content, err := r.refused.Open(id)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	body := r.spool(r.config.MX.Spool).New()
	defer body.Close()
	if _, err := io.Copy(body, content); err != nil {
		return nil, fmt.Errorf("read %s: %w", id, err)
	}
	if env.Digest, err = digest(body); err != nil {
		return nil, fmt.Errorf("read %s: %w", id, err)
	}
	env.Generation = r.recipients.Current().ID()
	for i := range env.To {
		env.To[i].Known = false // the maps may say otherwise by now
	}
	replies := mail.Deliver(ctx, r.next, env, mail.NewMessage(body))
	r.next.heard(env.ID) // whoever asked for it reads the answer
	var (
		came []policy.Delivery
		left []mail.Recipient
	)
	for i, rcpt := range env.To {
		came = append(came, policy.Delivery{To: rcpt.Address, Reply: replies[i]})
		if !replies[i].OK() {
			left = append(left, rcpt)
		}
	}
	r.note(env, body.Size(), came)
	if len(left) == 0 {
		return came, r.refused.Remove(id)
	}
	env.To = left
	return came, r.refused.Replace(env, mail.NewMessage(body))
}

// note writes down what came of it.
func (r *releaser) note(env *mail.Envelope, size int64, came []policy.Delivery) {
	replies := make([]mail.Reply, len(came))
	for i, d := range came {
		replies[i] = d.Reply
		r.log.Info("released", "id", env.ID, "from", env.From, "to", d.To, "reply", d.Reply)
	}
	r.decisions.transaction(&policy.Record{
		ID: env.ID, Released: true, Generation: env.Generation, Size: size, Deliveries: came, Reply: mail.Merge(replies),
		Facts: policy.Facts{Time: time.Now(), Client: env.Client, From: env.From},
	})
}

// digest returns that of a message, by which the ledger recognises a second copy.
func digest(src mail.Source) (d mail.Digest, err error) {
	h := sha256.New()
	if err = src.WriteRange(h, mail.Range{End: src.Size()}); err == nil {
		h.Sum(d[:0])
	}
	return d, err
}

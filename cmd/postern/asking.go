package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"postern/config"
	"postern/internal/control"
)

// asking is whom a command asks: the servers of a configuration, or those at the
// control sockets that it was told.
type asking struct {
	stdio
	config  string
	chosen  bool // somebody named the configuration
	sockets []string
	named   bool // a socket could be named by --control
	acts    bool // what is asked for changes something
	warned  bool // that the configuration is broken

	patience time.Duration // with each server; 0: a minute with all of them
}

// askingOf returns whom cmd asks. Its sockets are those of --control, if it has that.
func askingOf(cmd *cobra.Command, io stdio) *asking {
	a := &asking{stdio: io, config: configPath(cmd), chosen: cmd.Flags().Changed("config")}
	a.named = cmd.Flags().Lookup("control") != nil
	a.sockets, _ = cmd.Flags().GetStringArray("control") // or else there is none
	return a
}

// acting returns a for a command that changes something, and must not change it at
// another site.
func (a *asking) acting() *asking {
	a.acts = true
	return a
}

// withControl gives cmd the flag --control.
func withControl(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringArray("control", nil, "ask the server at this control `socket`, whatever the configuration says; may be given several times")
	return cmd
}

// settings returns where the servers of the configuration are found. For that it need
// not be right: nothing helps better to mend it than what a server says that runs.
func (a *asking) settings() (*config.Config, error) {
	c, sure, err := config.Salvage(a.config)
	if err == nil || a.warned {
		return c, nil
	}
	var wrong config.Mistakes
	switch broken := errors.As(err, &wrong); {
	case broken && a.chosen && !sure && a.acts:
		return nil, a.nobody(fmt.Errorf("%w\nwhere its servers are asked cannot be read of it, and the default may be another site's", err))
	case broken:
		fmt.Fprintf(a.err, "postern: the configuration is broken:\n%v\npostern: what can be read of it says to ask at %s and %s\n", err, c.MX.Control, c.MDA.Control)
		if a.chosen && !sure {
			fmt.Fprintln(a.err, "postern: one of these is the default, though it may name another: whoever answers may be another site's")
		}
	case a.chosen: // it may be another server's
		return nil, a.nobody(err)
	default:
		fmt.Fprintf(a.err, "postern: %v\npostern: asking where servers are without a configuration, at %s and %s\n", err, c.MX.Control, c.MDA.Control)
	}
	a.warned = true
	return c, nil
}

// nobody returns err, for which nobody is asked, with the way out.
func (a *asking) nobody(err error) error {
	if !a.named {
		return err
	}
	return fmt.Errorf("%w\n--control asks a server without it", err)
}

// A request is a verb and its argument.
type request struct {
	verb string
	arg  any
}

// An addressee is where one server is asked.
type addressee struct{ name, socket string }

func (a *asking) addressees() (all []addressee, err error) {
	for _, socket := range a.sockets {
		all = append(all, addressee{socket, socket})
	}
	if len(all) > 0 {
		return all, nil
	}
	c, err := a.settings()
	if err != nil {
		return nil, err
	}
	return []addressee{{"mx", c.MX.Control}, {"mda", c.MDA.Control}}, nil
}

// each asks every server that runs, and calls do with its name and its answer.
func (a *asking) each(ctx context.Context, ask request, do func(name string, answer json.RawMessage) error) error {
	addressees, err := a.addressees()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var silent, failures []error
	for _, c := range addressees {
		answer, err := a.call(ctx, c.socket, ask)
		switch {
		case control.NotRunning(err):
			silent = append(silent, err)
		case err != nil:
			failures = append(failures, fmt.Errorf("%s: %w", c.name, err))
		default:
			failures = append(failures, do(c.name, answer))
		}
	}
	if len(silent) == len(addressees) {
		return fmt.Errorf("no server runs with this configuration, or it is not yours to ask:\n%w", errors.Join(silent...))
	}
	if len(a.sockets) > 0 { // each of which was asked for
		failures = append(failures, silent...)
	}
	return errors.Join(failures...)
}

func (a *asking) call(ctx context.Context, socket string, ask request) (answer json.RawMessage, err error) {
	if a.patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.patience)
		defer cancel()
	}
	err = control.Call(ctx, socket, ask.verb, ask.arg, &answer)
	return answer, err
}

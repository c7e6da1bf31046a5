package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A statusView prints what the servers say of themselves, once or again and again.
type statusView struct {
	out    io.Writer
	asking *asking
	asJSON bool
	before map[string]Status // the answers of the last time
}

// show asks, and prints the answers to w.
func (v *statusView) show(ctx context.Context, w io.Writer) error {
	return v.asking.each(ctx, request{verb: "status"}, func(name string, answer json.RawMessage) error {
		if v.asJSON {
			var line bytes.Buffer
			if err := json.Compact(&line, answer); err != nil {
				return err
			}
			_, err := fmt.Fprintf(w, "%s\n", &line)
			return err
		}
		var now Status
		if err := json.Unmarshal(answer, &now); err != nil {
			return err
		}
		before, known := v.before[name]
		if v.before != nil {
			v.before[name] = now
		}
		if known && before.Started.Equal(now.Started) {
			return printStatus(w, now, &before)
		}
		return printStatus(w, now, nil)
	})
}

// watch shows it each interval until ctx ends. On a terminal it stays in its place;
// anywhere else one follows the other. That no server runs is shown, too: one that
// is restarted comes back.
func (v *statusView) watch(ctx context.Context, interval time.Duration) error {
	v.before = make(map[string]Status)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		var page bytes.Buffer
		if err := v.show(ctx, &page); err != nil && ctx.Err() == nil {
			if v.asJSON {
				return err
			}
			fmt.Fprintf(&page, "%v\n", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err := v.draw(page.Bytes()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// draw writes a page.
func (v *statusView) draw(page []byte) error {
	size, err := terminal(v.out)
	switch {
	case err == nil:
		page = redraw(page, int(size.Col), int(size.Row))
	case !v.asJSON:
		page = append(page, '\n')
	}
	_, err = v.out.Write(page)
	return err
}

// terminal returns the size of the terminal that w is.
func terminal(w io.Writer) (*unix.Winsize, error) {
	f, ok := w.(*os.File)
	if !ok {
		return nil, unix.ENOTTY
	}
	return unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
}

// redraw returns page for a terminal of columns and rows, in the place of what it
// shows now; lines that do not fit are cut, so that nothing scrolls. Of a size of 0
// nothing is known.
func redraw(page []byte, columns, rows int) []byte {
	out := []byte("\x1b[H")
	lines := bytes.Split(bytes.TrimRight(page, "\n"), []byte("\n"))
	if rows > 1 && len(lines) >= rows {
		lines = append(lines[:rows-2:rows-2], []byte("…"))
	}
	for _, line := range lines {
		if runes := bytes.Runes(line); columns > 0 && len(runes) > columns {
			line = []byte(string(runes[:columns-1]) + "…")
		}
		out = append(append(out, line...), "\x1b[K\n"...)
	}
	return append(out, "\x1b[J"...)
}

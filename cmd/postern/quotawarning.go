package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"postern/config"
	"postern/mail"
	"postern/mailbox"
)

// warnAgain is how long a user hears no more of a level that he has heard of:
// whoever removes a little now and then would hear of it each time. maxWarned
// bounds whom we remember.
const (
	warnAgain = 24 * time.Hour
	maxWarned = 10_000
)

// quotaText is what users are told, unless the administrator has a text.
const quotaText = `Subject: Your mailbox is {percent}% full

The mailbox {mailbox} holds {used} of the {quota} that it may.
When it is full, new messages will be refused. Please remove what you
do not need, and empty the trash.
`

// A quotaWarning is what users are told whose mailbox is nearly full.
type quotaWarning struct {
	file string // "": quotaText

	mu    sync.Mutex
	heard map[string]time.Time // by mailbox and level
}

// newQuotaWarning returns the warning whose text is in file, which is read anew
// for each. That it can be read now, and is a message, is checked.
func newQuotaWarning(file string) (*quotaWarning, error) {
	w := &quotaWarning{file: file, heard: make(map[string]time.Time)}
	text, err := w.text()
	if err != nil {
		return nil, err
	}
	header, _, ok := strings.Cut(text, "\n\n")
	if !ok || !strings.Contains(strings.ToLower("\n"+header), "\nsubject:") {
		return nil, fmt.Errorf("mda.quota_message: %s must begin with a Subject field, then an empty line, then the text", file)
	}
	return w, nil
}

func (w *quotaWarning) text() (string, error) {
	if w.file == "" {
		return quotaText, nil
	}
	text, err := os.ReadFile(w.file)
	if err != nil {
		return "", fmt.Errorf("mda.quota_message: %w", err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n"), nil
}

// due reports whether the mailbox has not heard of the level for long.
func (w *quotaWarning) due(key string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if last, ok := w.heard[key]; ok && now.Sub(last) < warnAgain {
		return false
	}
	if len(w.heard) >= maxWarned {
		clear(w.heard)
	}
	w.heard[key] = now
	return true
}

// quota returns the quota of m, which warns its user.
func (s *store) quota(m config.Member) mailbox.Quota {
	return mailbox.Quota{Octets: m.Quota, Warn: s.warnAt, Warned: func(percent int, u mailbox.Usage) { s.warned(m, percent, u) }}
}

// warnOnce warns the user of m, unless he has heard of it.
func (s *store) warnOnce(m config.Member, percent int, u mailbox.Usage) {
	now := time.Now()
	if !s.warning.due(fmt.Sprint(m.User, "@", m.Domain, " ", percent), now) {
		return
	}
	if err := s.warn(m, u, now); err != nil {
		s.log.Warn("a user was not warned of his quota", "mailbox", m.User+"@"+m.Domain, "percent", percent, "cause", err)
		return
	}
	s.log.Info("a user was warned of his quota", "mailbox", m.User+"@"+m.Domain, "percent", percent, "used", u.Octets, "quota", m.Quota)
}

// inbox returns the INBOX of m for what its quota must not refuse.
func (s *store) inbox(m config.Member) (mailbox.Mailbox, error) {
	m.Detail = ""
	if m.Account != "" {
		box := s.remote(m)
		box.Settings.Unrefused = true
		return box, nil
	}
	box, err := s.limited(m)
	if err != nil {
		return nil, err
	}
	return box.Unrefused(), nil
}

// warn delivers the warning into the INBOX of m. It is counted, and not refused.
func (s *store) warn(m config.Member, u mailbox.Usage, now time.Time) error {
	text, err := s.warning.message(m, u, s.options.Host, now)
	if err != nil {
		return err
	}
	inbox, err := s.inbox(m)
	if err != nil {
		return err
	}
	d, err := inbox.Begin(mailbox.Arrival{Time: now})
	if err != nil {
		return err
	}
	defer d.Abort()
	if _, err := io.Copy(d, bytes.NewReader(text)); err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	return d.Commit()
}

// message returns the warning with its header (RFC 3834, section 5: nothing is to
// answer it), its lines ending in CRLF.
func (w *quotaWarning) message(m config.Member, u mailbox.Usage, host string, now time.Time) ([]byte, error) {
	text, err := w.text()
	if err != nil {
		return nil, err
	}
	address := mail.Address{Local: m.User, Domain: m.Domain}.String()
	text = strings.NewReplacer(
		"{mailbox}", address, "{percent}", fmt.Sprintf("%.0f", 100*float64(u.Octets)/float64(m.Quota)),
		"{used}", octetsOf(u.Octets), "{quota}", octetsOf(m.Quota),
	).Replace(text)
	header := fmt.Sprintf("Return-Path: <>\nFrom: <postmaster@%s>\nTo: <%s>\nDate: %s\nMessage-ID: <%s@%s>\n"+
		"Auto-Submitted: auto-generated\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n",
		m.Domain, address, now.Format(time.RFC1123Z), mail.NewID(now), host)
	return []byte(strings.ReplaceAll(header+text, "\n", "\r\n")), nil
}

// octetsOf writes a size for a person.
func octetsOf(n int64) string {
	units := []string{"octets", "kB", "MB", "GB", "TB"}
	f, i := float64(n), 0
	for ; f >= 1000 && i < len(units)-1; i++ {
		f /= 1000
	}
	if i == 0 {
		return fmt.Sprint(n, " octets")
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

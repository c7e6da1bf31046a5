package milter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"postern/mail"
)

// Bounds of what a filter may change.
const (
	maxChanges = 1000
	maxOctets  = 1 << 20 // of all fields together
	maxName    = 256     // of the name of a field
)

// hear reads what the filter says until it wants to hear more. errDecided says that
// it has decided, errSkip that it has heard enough of the body.
func (q *question) hear() error {
	for {
		cmd, data, err := q.read()
		if err != nil {
			return err
		}
		switch cmd {
		case ansContinue:
			return nil
		case ansSkip:
			return errSkip
		case ansProgress:
			continue
		case ansAccept, ansReject, ansTempFail, ansDiscard:
			q.answer.Action = map[byte]Action{ansAccept: Accept, ansReject: Reject, ansTempFail: TempFail, ansDiscard: Discard}[cmd]
			return errDecided
		case ansReply:
			return q.reply(data)
		case ansShutdown, ansConnFail:
			q.answer.Action = TempFail
			return errDecided
		}
		if err := q.change(cmd, data); err != nil {
			return err
		}
	}
}

// reply takes a reply that the filter chose: "550 5.7.1 text", on one line or
// several.
func (q *question) reply(data []byte) error {
	text, _, _ := strings.Cut(string(data), "\x00")
	r, ok := parseReply(text)
	if !ok {
		return fmt.Errorf("%q is no reply", mail.Printable(text, 100))
	}
	q.answer.Action, q.answer.Reply = Reject, r
	if r.Temporary() {
		q.answer.Action = TempFail
	}
	return errDecided
}

// parseReply reads a reply that refuses. What strangers cannot be shown of its
// text becomes "?"; a percent sign is doubled on the wire.
func parseReply(text string) (mail.Reply, bool) {
	var (
		r     mail.Reply
		lines []string
	)
	for line := range strings.SplitSeq(strings.TrimRight(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), "\n") {
		if len(line) < 3 {
			return mail.Reply{}, false
		}
		code, err := strconv.ParseUint(line[:3], 10, 16)
		if err != nil || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
			return mail.Reply{}, false
		}
		rest := strings.TrimLeft(line[3:], " -")
		status, after, _ := strings.Cut(rest, " ")
		if s, ok := parseStatus(status); ok && s[0] == int(code)/100 {
			r.Status, rest = s, after
		}
		r.Code = int(code)
		lines = append(lines, mail.Printable(strings.ReplaceAll(rest, "%%", "%"), 400))
		if len(lines) == 10 {
			break
		}
	}
	r.Text = strings.Join(lines, "\n")
	if r.Status == (mail.Status{}) {
		r.Status = mail.Status{r.Code / 100, 7, 1}
	}
	if strings.TrimSpace(r.Text) == "" {
		r.Text = mail.Filtered.Text
	}
	return r, r.Refuses()
}

// parseStatus reads "5.7.1" (RFC 3463, section 2).
func parseStatus(s string) (status mail.Status, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return status, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n > 999 {
			return mail.Status{}, false
		}
		status[i] = int(n)
	}
	return status, true
}

// change takes what the filter wants to be different. What we did not offer is
// left as it is.
func (q *question) change(cmd byte, data []byte) error {
	switch cmd {
	case ansQuarantine:
		why, _, _ := strings.Cut(string(data), "\x00")
		q.answer.Quarantine = mail.Printable(why, 200)
		if why == "" {
			q.answer.Quarantine = "no reason given"
		}
		return nil
	case ansBody:
		return q.replaceBody(data)
	case ansAddField:
		return q.changeField(Add, 0, data)
	case ansInsert, ansAlter:
		if len(data) < 4 {
			return errors.New("a change without a place")
		}
		index := binary.BigEndian.Uint32(data)
		op := Insert
		if cmd == ansAlter {
			op = Alter
		}
		return q.changeField(op, int(min(index, 1<<30)), data[4:])
	}
	return nil
}

func (q *question) changeField(op Op, index int, data []byte) error {
	words, ok := unlist(data, 2)
	if !ok || !isFieldName(words[0]) {
		return errors.New("a change of what is no field")
	}
	q.octets += len(data)
	if len(q.answer.Changes) == maxChanges || q.octets > maxOctets {
		return fmt.Errorf("more than %d changes, or %d octets of them", maxChanges, maxOctets)
	}
	value := fold(words[1])
	if q.protocol&leadingSpace == 0 && value != "" && value[0] != ' ' && value[0] != '\t' {
		value = " " + value
	}
	q.answer.Changes = append(q.answer.Changes, Change{op, index, Field{words[0], value}})
	return nil
}

// isFieldName reports whether s is a field-name of RFC 5322, section 3.6.8.
func isFieldName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ':' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// fold returns a value whose lines end in LF as it stands in a message. A line
// that would end the field becomes a part of it.
func fold(value string) string {
	value = strings.NewReplacer("\r", "", "\x00", "").Replace(value)
	var lines []string
	for line := range strings.SplitSeq(strings.TrimRight(value, "\n"), "\n") {
		if len(lines) > 0 {
			if strings.Trim(line, " \t") == "" {
				continue // an empty line would end the header
			}
			if line[0] != ' ' && line[0] != '\t' {
				line = "\t" + line
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\r\n")
}

// replaceBody takes a part of what stands in the place of the body. Where there
// is no spool for it, the body stays as it is.
func (q *question) replaceBody(data []byte) error {
	if q.spool == nil {
		return nil
	}
	if q.answer.Body == nil {
		q.answer.Body = q.spool.New()
	}
	_, err := q.answer.Body.Write(data)
	return err
}

// drop gives back what an unfinished answer holds.
func (q *question) drop() {
	if q.answer.Body != nil {
		_ = q.answer.Body.Close() // nobody reads it
		q.answer.Body = nil
	}
}

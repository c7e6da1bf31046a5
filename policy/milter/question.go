package milter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"postern/internal/spool"
	"postern/mail"
)

// A question is one message before a filter.
type question struct {
	wire
	spool    *spool.Spool
	protocol uint32 // what the filter asked of us
	answer   Answer
	octets   int // of the changes so far
}

// errDecided says that the filter has answered before it heard all.
var errDecided = errors.New("decided")

// errSkip says that the filter wants to hear no more of the body.
var errSkip = errors.New("skip")

func newQuestion(rw io.ReadWriter, s *spool.Spool) *question {
	return &question{wire: newWire(rw), spool: s, answer: Answer{Action: Accept}}
}

// ask tells the filter all about m, step by step, and hears the answer.
func (q *question) ask(m Message) error {
	if err := q.negotiate(); err != nil {
		return fmt.Errorf("negotiate: %w", err)
	}
	for _, step := range []struct {
		name string
		do   func(Message) error
	}{
		{"connect", q.connect}, {"envelope", q.envelope}, {"header", q.header}, {"body", q.body}, {"end", q.end},
	} {
		if err := step.do(m); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// negotiate says what we can, and hears what the filter wants.
func (q *question) negotiate() error {
	var offer []byte
	for _, n := range []uint32{version, actions, protocol} {
		offer = binary.BigEndian.AppendUint32(offer, n)
	}
	if err := q.write(cmdNegotiate, offer); err != nil {
		return err
	}
	cmd, data, err := q.read()
	switch {
	case err != nil:
		return err
	case cmd != cmdNegotiate || len(data) < 12:
		return fmt.Errorf("it answered %q, %d octets", cmd, len(data))
	}
	spoken := binary.BigEndian.Uint32(data)
	if spoken < oldest || spoken > version {
		return fmt.Errorf("it speaks version %d", spoken)
	}
	// Of what it wants to do beyond what we offer, nothing will be done.
	q.protocol = binary.BigEndian.Uint32(data[8:]) & protocol
	return nil
}

// step sends a command unless the filter does not want to hear it, with macros
// before it, and hears the answer unless there is none.
func (q *question) step(cmd byte, data []byte, unwanted, quiet uint32, macros ...string) error {
	if q.protocol&unwanted != 0 {
		return nil
	}
	if len(macros) > 0 {
		if err := q.write(cmdMacros, append([]byte{cmd}, list(macros...)...)); err != nil {
			return err
		}
	}
	if err := q.write(cmd, data); err != nil {
		return err
	}
	if q.protocol&quiet != 0 && quiet != 0 {
		return nil
	}
	return q.hear()
}

// connect tells of the client and what it calls itself.
func (q *question) connect(m Message) error {
	name := m.ClientName
	if name == "" {
		name = "unknown"
	}
	err := q.step(cmdConnect, append(list(name), family(m.Client.IP)...), noConnect, quietConnect,
		"j", m.Hostname, "{daemon_name}", "postern", "{client_addr}", m.Client.IP.String(), "{client_name}", name)
	if err != nil {
		return err
	}
	var macros []string
	if tls, cipher, ok := strings.Cut(m.Client.TLS, " "); ok {
		macros = []string{"{tls_version}", tls, "{cipher}", cipher}
	}
	return q.step(cmdHello, list(m.Client.Hello), noHello, quietHello, macros...)
}

// family tells an address as a filter wants to hear it, with a port.
func family(ip netip.Addr) []byte {
	switch {
	case !ip.IsValid():
		return []byte{'U'}
	case ip.Is4():
		return append([]byte{'4', 0, 25}, list(ip.String())...)
	}
	return append([]byte{'6', 0, 25}, list(ip.WithZone("").String())...)
}

// envelope tells of sender and recipients.
func (q *question) envelope(m Message) error {
	err := q.step(cmdMail, list(m.From.Path()), noMail, quietMail, "i", m.ID, "{mail_addr}", m.From.String())
	if err != nil {
		return err
	}
	if err := q.recipients(m); err != nil {
		return err
	}
	return q.step(cmdData, nil, noData, quietData, "i", m.ID)
}

// recipients tells to whom the message goes. A filter may refuse one of them; one
// that refuses all refuses the message. Where others remain it is too late to
// refuse one alone, for all have been accepted.
func (q *question) recipients(m Message) error {
	var refused []Answer
	for _, to := range m.To {
		err := q.step(cmdRcpt, list(to.Path()), noRcpt, quietRcpt, "{rcpt_addr}", to.String())
		if errors.Is(err, errDecided) && (q.answer.Action == Reject || q.answer.Action == TempFail) {
			refused = append(refused, q.answer)
			q.answer.Action, q.answer.Reply = Accept, mail.Reply{}
			continue
		}
		if err != nil {
			return err
		}
	}
	if len(refused) > 0 && len(refused) == len(m.To) {
		q.answer = refused[0]
		return errDecided
	}
	q.answer.Recipients = len(refused)
	return nil
}

// header tells the fields. Lines end in LF within the protocol.
func (q *question) header(m Message) error {
	for _, f := range m.Fields {
		value := strings.ReplaceAll(f.Value, "\r\n", "\n")
		if q.protocol&leadingSpace == 0 {
			value = strings.TrimPrefix(value, " ")
		}
		if err := q.step(cmdField, list(f.Name, value), noHeader, quietField); err != nil {
			return err
		}
	}
	return q.step(cmdEndHeader, nil, noEndHeader, quietEndHeader)
}

// body tells the body, until the filter has heard enough.
func (q *question) body(m Message) error {
	if q.protocol&noBody != 0 {
		return nil
	}
	r := io.NewSectionReader(m.Source, m.Body, m.Source.Size()-m.Body)
	b := make([]byte, min(chunk, r.Size()))
	for {
		n, err := io.ReadFull(r, b)
		if n > 0 {
			switch err := q.step(cmdBody, b[:n], noBody, quietBody); {
			case errors.Is(err, errSkip):
				return nil
			case err != nil:
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), len(b) == 0:
			return nil
		case err != nil:
			return err
		}
	}
}

// end tells that it was all, and hears what is to be done.
func (q *question) end(m Message) error {
	return q.step(cmdEnd, nil, 0, 0, "i", m.ID)
}

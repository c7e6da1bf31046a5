package policy

import (
	"strings"

	"postern/mail"
	"postern/policy/spf"
)

// receivedSPF returns the field of RFC 7208, section 9.1, with CRLF at its end.
// Whatever the client said cannot leave its place in it.
func receivedSPF(hostname string, f Facts, r spf.Result) string {
	sender := f.From.String()
	if f.From.IsNull() {
		sender = "postmaster@" + f.Client.Hello
	}
	ip := ""
	if f.Client.IP.IsValid() {
		ip = f.Client.IP.String()
	}
	var b strings.Builder
	b.WriteString("Received-SPF: " + string(r.Verdict))
	for i, pair := range [][2]string{
		{"receiver", hostname},
		{"identity", string(r.Identity)},
		{"client-ip", ip},
		{"helo", f.Client.Hello},
		{"envelope-from", sender},
		{"mechanism", r.Mechanism},
		{"problem", r.Problem},
	} {
		if pair[1] == "" {
			continue
		}
		if i > 0 {
			b.WriteString(";")
		}
		b.WriteString("\r\n\t" + pair[0] + "=" + quoted(pair[1]))
	}
	return b.String() + "\r\n"
}

// quoted returns s as a dot-atom if it is one, else as a quoted-string (RFC 5322,
// section 3.2).
func quoted(s string) string {
	s = mail.Printable(s, maxValue)
	if isDotAtom(s) {
		return s
	}
	return `"` + quotedPairs.Replace(s) + `"`
}

// quotedPairs makes quoted-pairs of what must be (RFC 5322, section 3.2.4). It is
// made once: it is larger than most headers.
var quotedPairs = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// maxValue bounds a value of a field, in octets.
const maxValue = 400

func isDotAtom(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for i := range len(atom) {
			if !mail.IsAtext(atom[i]) {
				return false
			}
		}
	}
	return true
}

// Package policy judges: it asks SPF, DKIM and their like in order, composes
// what they found into one verdict, and writes it down where the reader of the
// message and the administrator can see it.
//
// A verdict is a function of what the session knows, of what the DNS answered,
// and of the configuration. A resolver that is sick never makes a refusal.
package policy

import "postern/mail"

// A Verdict is what the policies say of one message.
type Verdict struct {
	Refusal error        // nil, or the reply that refuses the message
	Field   string       // Authentication-Results, whole, to be put on top; "" for none
	Cut     []mail.Range // forged fields, to be taken out
	Note    string       // the results in brief, for the log: "spf=pass dkim=none"
}

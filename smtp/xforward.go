package smtp

// XForwardAttributes are the attributes of XFORWARD (Postfix, XFORWARD_README), as
// they are announced.
const XForwardAttributes = "NAME ADDR PORT PROTO HELO IDENT SOURCE"

// An XForward is what a mail system says with XFORWARD of where it has a message
// from. It is for the log alone.
type XForward struct {
	XClient
	Ident string // its own name of the message: Postfix's queue ID; "" where it said none
}

// Take parses the argument of XFORWARD and adds it to x: there may be several
// commands. Its error is a reply.
func (x *XForward) Take(arg string) error {
	taken := *x
	if err := attributes(arg, taken.set); err != nil {
		return err
	}
	*x = taken
	return nil
}

// set takes the value of an attribute, and reports whether it is one.
func (x *XForward) set(name, value string) (ok bool) {
	switch name {
	case "IDENT":
		if !unavailable(value) {
			x.Ident = value
		}
		return true
	case "PROTO":
		x.ESMTP = upper(value) == "ESMTP"
		return true
	case "SOURCE", "NAME": // whatever it is: it decides nothing
		return true
	case "ADDR", "HELO", "PORT":
		return x.XClient.set(name, value)
	}
	return false
}

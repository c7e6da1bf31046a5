package spf

import (
	"errors"
	"fmt"

	"postern/mail"
)

// maxProblem bounds the text of a problem, which quotes the record.
const maxProblem = 200

// A problem is why a check ends without the domain's own word: it has the
// verdict to give.
type problem struct {
	verdict Verdict
	text    string
}

func (p *problem) Error() string { return p.text }

func none(text string) error { return &problem{None, text} }

func permerror(format string, args ...any) error {
	return &problem{PermError, fmt.Sprintf(format, args...)}
}

func temperror(format string, args ...any) error {
	return &problem{TempError, fmt.Sprintf(format, args...)}
}

// explain returns the verdict and the text of err. What is no problem of ours
// says nothing about the domain, and a later try may bring a verdict.
func explain(err error) (Verdict, string) {
	verdict := TempError
	if p := (*problem)(nil); errors.As(err, &p) {
		verdict = p.verdict
	}
	return verdict, mail.Printable(err.Error(), maxProblem)
}

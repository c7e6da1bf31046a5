package mail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"strconv"
	"strings"
	"testing"
)

// catalogue reads every Reply that the source declares.
func catalogue(t *testing.T) map[string]Reply {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reply.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	replies := make(map[string]Reply)
	for _, decl := range file.Decls {
		vars, ok := decl.(*ast.GenDecl)
		if !ok || vars.Tok != token.VAR {
			continue
		}
		for _, spec := range vars.Specs {
			value := spec.(*ast.ValueSpec)
			if lit, ok := value.Values[0].(*ast.CompositeLit); ok {
				replies[value.Names[0].Name] = evaluate(t, lit)
			}
		}
	}
	if len(replies) < 40 {
		t.Fatalf("only %d replies found", len(replies))
	}
	return replies
}

// evaluate returns the Reply that lit is.
func evaluate(t *testing.T, lit *ast.CompositeLit) (r Reply) {
	t.Helper()
	number := func(e ast.Expr) int {
		n, err := strconv.Atoi(e.(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, elt := range lit.Elts {
		field := elt.(*ast.KeyValueExpr)
		switch name := field.Key.(*ast.Ident).Name; name {
		case "Code":
			r.Code = number(field.Value)
		case "Status":
			for i, e := range field.Value.(*ast.CompositeLit).Elts {
				r.Status[i] = number(e)
			}
		case "Text":
			text, err := strconv.Unquote(field.Value.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			r.Text = text
		default:
			t.Fatalf("field %s", name)
		}
	}
	return r
}

// RFC 3463, section 2: the class of the status is that of the code.
func TestRFC3463_2_ClassOfStatus(t *testing.T) {
	known := map[int]bool{ // RFC 5321, section 4.2.2, and of the extensions
		211: true, 214: true, 220: true, 221: true, 250: true, 251: true, 252: true, 353: true, 354: true,
		421: true, 450: true, 451: true, 452: true, 454: true, 455: true,
		500: true, 501: true, 502: true, 503: true, 504: true, 550: true, 551: true, 552: true, 553: true, 554: true, 555: true,
		521: true, // RFC 7504
	}
	seen := make(map[string]string)
	for name, r := range catalogue(t) {
		if !known[r.Code] {
			t.Errorf("%s: code %d", name, r.Code)
		}
		if class := r.Code / 100; class == 3 && r.Status != (Status{}) || class != 3 && r.Status[0] != class {
			t.Errorf("%s: status %v with code %d", name, r.Status, r.Code)
		}
		if r.Text == "" || Printable(r.Text, 100) != r.Text {
			t.Errorf("%s: text %q", name, r.Text)
		}
		if other, twice := seen[r.String()]; twice {
			t.Errorf("%s and %s are the same", name, other)
		}
		seen[r.String()] = name
	}
}

// What is our own trouble, or might be, is never final.
func TestCatalogueTemporary(t *testing.T) {
	replies := catalogue(t)
	for _, name := range []string{
		"ShuttingDown", "IdleTooLong", "Broken", "TooManyErrors", "TooManyConnections", "LocalError", "TryAgain",
		"NextHopDown", "NextHopSlow", "PolicyTempError", "MixedResult", "NoSpace", "TooManyRecipients", "TLSUnavailable",
		"TooManyMessages", "Greylisted",
	} {
		if r, ok := replies[name]; !ok || !r.Temporary() || r.OK() || !r.Refuses() {
			t.Errorf("%s: %v", name, r)
		}
	}
}

func TestReplyTo(t *testing.T) {
	disk := errors.New("no space left on device")
	wrapped := fmt.Errorf("deliver to %v: %w", Address{"a", "b"}, NoSuchUser)
	tests := []struct {
		err   error
		want  Reply
		cause error
	}{
		{nil, Accepted, nil},
		{NoSuchUser, NoSuchUser, nil},
		{wrapped, NoSuchUser, nil},
		{errors.Join(disk, NoSuchUser), NoSuchUser, nil},
		{NoSpace.Because(disk), NoSpace, disk},
		{MixedResult.Because(NoSuchUser), MixedResult, NoSuchUser},
		{disk, LocalError, disk},
		{fs.ErrPermission, LocalError, fs.ErrPermission}, // an errno is never final
		{context.DeadlineExceeded, LocalError, context.DeadlineExceeded},
		// A Reply that refuses nothing does not turn an error into success.
		{Reply{}, LocalError, Reply{}},
		{Accepted, LocalError, Accepted},
		{fmt.Errorf("lmtp: %w", Accepted), LocalError, Accepted},
		{StartData, LocalError, StartData},
		{Reply{Code: 600}, LocalError, Reply{Code: 600}},
	}
	for _, tt := range tests {
		got := ReplyTo(tt.err)
		if !got.Is(tt.want) || tt.cause != nil && !errors.Is(got, tt.cause) {
			t.Errorf("%v: got %v", tt.err, got.Error())
		}
	}
}

var (
	full     = Reply{Code: 452, Status: Status{4, 2, 2}, Text: "full"}
	gone     = Reply{Code: 550, Status: Status{5, 1, 1}, Text: "gone"}
	accepted = Reply{Code: 250, Status: Status{2, 0, 0}, Text: "OK"}
)

// RFC 5321, section 6.1: what was promised is kept, and what was not is not
// taken for promised.
func TestRFC5321_6_1_Merge(t *testing.T) {
	second := Reply{Code: 250, Status: Status{2, 0, 0}, Text: "OK, too"}
	other := Reply{Code: 552, Status: Status{5, 2, 2}, Text: "full for good"}
	tests := []struct {
		replies []Reply
		want    Reply
	}{
		{nil, LocalError},
		{[]Reply{accepted}, accepted},
		{[]Reply{accepted, second}, accepted},
		{[]Reply{gone}, gone},
		{[]Reply{gone, other}, gone},
		{[]Reply{full}, full},
		{[]Reply{accepted, full}, full},
		{[]Reply{gone, full}, full},
		{[]Reply{gone, accepted, full}, full},
		{[]Reply{full, TryAgain}, full},
		{[]Reply{accepted, gone}, MixedResult},
		{[]Reply{gone, accepted}, MixedResult},
		{[]Reply{accepted, {}}, MixedResult},
	}
	for _, tt := range tests {
		if got := Merge(tt.replies); !got.Is(tt.want) {
			t.Errorf("%v: got %v, want %v", tt.replies, got, tt.want)
		}
	}
	if got := Merge([]Reply{accepted, gone, other}); !errors.Is(got, gone) {
		t.Errorf("the cause is lost: %v", got.Error())
	}
}

func TestWorst(t *testing.T) {
	tests := []struct {
		replies []Reply
		want    Reply
	}{
		{nil, LocalError},
		{[]Reply{accepted}, accepted},
		{[]Reply{accepted, gone}, gone},
		{[]Reply{gone, accepted}, gone},
		{[]Reply{gone, full, accepted}, full},
		{[]Reply{full, gone}, full},
		{[]Reply{full, TryAgain}, full}, // the first of the worst
		{[]Reply{accepted, {}}, Reply{}},
	}
	for _, tt := range tests {
		if got := Worst(tt.replies); !got.Is(tt.want) {
			t.Errorf("%v: got %v, want %v", tt.replies, got, tt.want)
		}
	}
	if got := WorstOf([]Reply{accepted, full, gone}, []int{0, 2}); !got.Is(gone) {
		t.Errorf("of some: got %v, want %v", got, gone)
	}
}

// A deliverer answers with whatever it was told to.
type deliverer []Reply

func (d deliverer) Verify(context.Context, *Envelope, Recipient) error { return nil }

func (d deliverer) Deliver(context.Context, *Envelope, *Message) []Reply { return d }

func TestDeliverHoldsToTheContract(t *testing.T) {
	env := &Envelope{To: make([]Recipient, 2)}
	tests := []struct {
		replies deliverer
		broken  bool
	}{
		{deliverer{accepted, gone}, false},
		{deliverer{full, full}, false},
		{nil, true},
		{deliverer{accepted}, true},
		{deliverer{accepted, accepted, accepted}, true},
		{deliverer{accepted, {}}, true},
		{deliverer{accepted, {Code: -250}}, true},
		{deliverer{accepted, {Code: 600}}, true},
		{deliverer{accepted, {Code: 199}}, true},
		{deliverer{accepted, StartData}, true}, // no answer to a message
	}
	for _, tt := range tests {
		got := Deliver(t.Context(), tt.replies, env, nil)
		if len(got) != 2 {
			t.Errorf("%v: %d replies", tt.replies, len(got))
			continue
		}
		for i, r := range got {
			if tt.broken && (!r.Is(LocalError) || r.Err == nil) || !tt.broken && r != tt.replies[i] {
				t.Errorf("%v: got %v", tt.replies, got)
			}
		}
	}
}

func TestReplyStrings(t *testing.T) {
	cause := errors.New("disk full")
	tests := []struct {
		got, want string
	}{
		{NoSuchUser.String(), "550 5.1.1 no such user here"},
		{NoSuchUser.Error(), "550 5.1.1 no such user here"},
		{NoSuchUser.Because(cause).String(), "550 5.1.1 no such user here"},
		{NoSuchUser.Because(cause).Error(), "550 5.1.1 no such user here (disk full)"},
		{StartData.String(), "354 start mail input, end with <CRLF>.<CRLF>"},
		{Reply{Code: 250, Text: "a\nb"}.String(), "250 a / b"},
		{Accepted.Saying("OK %s", "x").String(), "250 2.0.0 OK x"},
		{Status{}.String(), ""},
		{Status{5, 7, 23}.String(), "5.7.23"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
	if !errors.Is(NoSuchUser.Because(cause), cause) || !errors.Is(NoSuchUser.Because(cause), NoSuchUser) {
		t.Error("a Reply is not what it was made of")
	}
	if NoSuchUser.Is(Reply{Code: 550, Status: Status{5, 1, 1}, Text: strings.ToUpper(NoSuchUser.Text)}) {
		t.Error("another text is the same reply")
	}
}

// A reply is another's whose code, status and text it has, whatever the causes.
func TestIs(t *testing.T) {
	gone := NoSuchUser
	for other, want := range map[error]bool{
		NoSuchUser: true, Reply{Code: 550, Status: gone.Status, Text: gone.Text}: true,
		Reply{Code: 551, Status: gone.Status, Text: gone.Text}:     false,
		Reply{Code: 550, Status: Status{5, 1, 2}, Text: gone.Text}: false,
		Reply{Code: 550, Status: gone.Status, Text: "another"}:     false,
		errors.ErrUnsupported: false,
	} {
		if got := gone.Because(errors.New("a cause")).Is(other); got != want {
			t.Errorf("is %v: %v", other, got)
		}
	}
}

func TestCloses(t *testing.T) {
	for name, r := range catalogue(t) {
		want := r.Code == 221 || r.Code == 421 || r.Code == 521 || name == "BadChunk" || name == "EarlyTalker" || name == "FarTooBig"
		if r.Closes() != want {
			t.Errorf("%s: %v", name, r.Closes())
		}
		if named := r.By("mx.example"); want != strings.HasPrefix(named.Text, "mx.example ") || !strings.HasSuffix(named.Text, r.Text) || !r.By("").Is(r) {
			t.Errorf("%s: %v", name, named)
		}
	}
}

// What a next hop or a filter says with the code of ours ends no session.
func TestOthersCloseNothing(t *testing.T) {
	for _, r := range []Reply{EarlyTalker, FarTooBig, BadChunk, NotSMTP} {
		if r = r.Saying("not for this user"); r.Closes() || r.By("mx.example").Text != r.Text {
			t.Errorf("%v closes", r)
		}
	}
}

// A reply that is kept comes back with its cause as a text; none stays none.
func TestReplyIsKept(t *testing.T) {
	for _, r := range []Reply{{}, Accepted, NoSuchUser.Because(errors.New("the cause")), {Code: 250, Text: "two\nlines"}} {
		b, err := json.Marshal(struct{ R Reply }{r})
		if err != nil {
			t.Fatal(err)
		}
		var back struct{ R Reply }
		if err := json.Unmarshal(b, &back); err != nil || !back.R.Is(r) || fmt.Sprint(back.R.Err) != fmt.Sprint(r.Err) {
			t.Errorf("%s: %v, %v", b, back.R, err)
		}
	}
	if b, _ := json.Marshal(LocalError.Because(errors.New(strings.Repeat("x", 10_000)))); len(b) > 2000 {
		t.Errorf("%d octets", len(b))
	}
}

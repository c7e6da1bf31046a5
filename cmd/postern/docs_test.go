package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// TestWriteDocs writes man pages and shell completions into the folder DOCS. It
// is a test so that what writes them is not in the program; contrib/package/build
// runs it. The pages of section 8 come from the commands' own help, those of
// section 5 from the files in testdata/config, which a test of config holds
// against what the program reads.
func TestWriteDocs(t *testing.T) {
	dir := os.Getenv("DOCS")
	if dir == "" {
		dir = t.TempDir()
	}
	man, completions := filepath.Join(dir, "man"), filepath.Join(dir, "completions")
	for _, dir := range []string{man, completions} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root := newRoot(stdio{})
	if err := writeCommands(root, man); err != nil {
		t.Fatal(err)
	}
	for _, p := range filePages {
		if err := p.write(man); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeCompletions(root, completions); err != nil {
		t.Fatal(err)
	}
	checkPages(t, man)
}

// checkPages reads each page as man does, and objects to what man objects to.
func checkPages(t *testing.T, dir string) {
	pages, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		out, err := exec.Command("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page).CombinedOutput()
		if err != nil || strings.Contains(string(out), "warning:") {
			t.Errorf("man %s: %v\n%.2000s", page, err, out)
		}
	}
}

// writeCommands writes a page for each command.
func writeCommands(root *cobra.Command, dir string) error {
	root.DisableAutoGenTag = true
	date := buildDate()
	return doc.GenManTree(root, &doc.GenManHeader{Section: "8", Source: "Postern", Manual: "Postern", Date: &date}, dir)
}

// buildDate is that of the sources, so that the same sources give the same pages.
func buildDate() time.Time {
	var seconds int64
	if _, err := fmt.Sscan(os.Getenv("SOURCE_DATE_EPOCH"), &seconds); err != nil {
		return time.Now()
	}
	return time.Unix(seconds, 0).UTC()
}

func writeCompletions(root *cobra.Command, dir string) error {
	for name, write := range map[string]func(string) error{
		"postern.bash": func(f string) error { return root.GenBashCompletionFileV2(f, true) },
		"postern.fish": func(f string) error { return root.GenFishCompletionFile(f, true) },
		"_postern":     root.GenZshCompletionFile,
	} {
		if err := write(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// A filePage describes a file of the configuration by an example of it that has
// all its keys.
type filePage struct {
	name, about string
	example     string // below testdata/config
	text        string
	see         string
}

var filePages = []filePage{
	{
		name: "postern.toml", about: "configuration of Postern", example: "postern.toml",
		text: `Read at start from /etc/postern/postern.toml, or from what **--config** names. It is TOML. Unknown keys are
refused, and **postern check** says of every mistake where it is and what to write instead. Relative paths count from
the folder of the file. Only **hostname** must be there; what the others are if they are not is shown with each.`,
		see: "postern(8), postern-check(8), recipients(5), access-rules(5)",
	},
	{
		name: "recipients", about: "whose mail Postern takes", example: "recipients.d/example.com.toml",
		text: `One file for each domain, with a name that ends in .toml, in the folder that **recipients** in postern.toml(5)
names. A changed file serves within a second; one with a mistake changes nothing, and **postern status** says so.`,
		see: "postern(8), postern.toml(5), postern-check(8), postern-reload(8)",
	},
	{
		name: "access-rules", about: "whom Postern takes mail from", example: "access.d/example.toml",
		text: `Files in the folder that **policy.access** in postern.toml(5) names. They are read again when they change.`,
		see:  "postern(8), postern.toml(5), postern-try(8)",
	},
}

// write writes the page for section 5 of the manual.
func (p filePage) write(dir string) error {
	example, err := os.ReadFile(filepath.Join("..", "..", "testdata", "config", p.example))
	if err != nil {
		return err
	}
	var md strings.Builder
	fmt.Fprintf(&md, "%% \"%s\" \"5\" \"%s\" \"Postern\" \"Postern\"\n\n# NAME\n\n%s - %s\n\n# DESCRIPTION\n\n%s\n\n", p.name, buildDate().Format("Jan 2006"), p.name, p.about, p.text)
	if p.name == "postern.toml" {
		md.WriteString("# KEYS\n\n" + keys(string(example)))
	}
	md.WriteString("# EXAMPLE\n\n")
	for line := range strings.Lines(string(example)) {
		md.WriteString("    " + line)
	}
	fmt.Fprintf(&md, "\n\n# SEE ALSO\n\n%s\n", p.see)
	return os.WriteFile(filepath.Join(dir, p.name+".5"), md2man.Render([]byte(md.String())), 0o644)
}

var (
	sectionLine = regexp.MustCompile(`^(?:# )?\[+([a-z.]+)\]+(?:\s*#\s*(.*))?$`)
	keyLine     = regexp.MustCompile(`^(?:# )?([a-z_]+)\s*=\s*(.+?)(?:\s+#\s*(.*))?$`)
)

// keys lists the keys of an example, by section: name, value, comment.
func keys(example string) string {
	var md strings.Builder
	for line := range strings.Lines(example) {
		line = strings.TrimRight(line, "\n")
		if m := sectionLine.FindStringSubmatch(line); m != nil {
			fmt.Fprintf(&md, "## [%s]\n\n%s\n\n", m[1], m[2])
		} else if m := keyLine.FindStringSubmatch(line); m != nil && m[2] != "[" {
			fmt.Fprintf(&md, "**%s** = `%s`\n: %s\n\n", m[1], m[2], m[3])
		}
	}
	return md.String()
}

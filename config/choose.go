package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A choice is which version of each file is to serve: the new one, the old one,
// or none.
type choice struct {
	old     *Recipients
	force   bool
	patient bool // nobody waits for it
	host    string
	limits  Options
	chosen  map[string]*domainMap // by the name of the file; from old where the new one does not serve
	before  map[string]*domainMap // what serves, by the name of the file
	refused map[string]Mistakes   // why the new version of a file does not serve
	again   time.Time             // when to look again, since something may be good by then
}

// choose reads what is new among sources, and refuses each file that is wrong by itself,
// or held.
func (g *Generations) choose(sources []source, q Request, held map[string]string, patient bool) *choice {
	c := &choice{
		old: g.Current(), force: q.Force, patient: patient, host: g.options.Hostname, limits: g.options,
		chosen: make(map[string]*domainMap), before: make(map[string]*domainMap), refused: make(map[string]Mistakes),
	}
	for _, m := range c.old.maps {
		c.before[m.base()] = m
	}
	there := make(map[string]bool, len(sources))
	for _, s := range sources {
		there[s.base()] = true
	}
	// What is gone is forgotten, unless it serves.
	maps.DeleteFunc(g.compiled, func(base string, _ *domainMap) bool { return !there[base] })
	for _, s := range sources {
		was, seen := c.before[s.base()], g.compiled[s.base()]
		m := g.compile(s, was)
		c.add(s, m, held[s.base()], was.isAt(s) || seen.isAt(s))
		m.at = s.file
	}
	return c
}

// compile returns the map of s, which it reads only if its content is new.
func (g *Generations) compile(s source, serving *domainMap) *domainMap {
	sum := s.sum()
	m := g.compiled[s.base()]
	switch {
	case serving != nil && serving.sum == sum:
		m = serving
	case m == nil || m.sum != sum:
		m = compile(s)
	}
	g.compiled[s.base()] = m
	return m
}

// cutShort is how long a map must stay unchanged before it serves, if it is only the
// beginning of the one that serves now: a file that is being written looks like that.
const cutShort = 10 * time.Second

// add chooses the new version m of a file, unless something is wrong with it.
// Rewritten says that the same file was seen before, and none took its place.
func (c *choice) add(s source, m *domainMap, held string, rewritten bool) {
	file, was := s.base(), c.before[s.base()]
	refuse := func(message, hint string) {
		c.refuse(file, Mistakes{{File: s.name, Message: message, Hint: hint, err: s.err}})
	}
	switch {
	case s.err != nil && c.force && mayBeMeant(s.err):
	case s.err != nil:
		hint := "mend it"
		if why := (fileError{}); errors.As(s.err, &why) && why.hint != "" {
			hint = why.hint
		}
		if mayBeMeant(s.err) {
			hint += "; or, if its domain is to go, reload with --force"
		} else {
			hint += "; or, if its domain is to go, move it away and reload with --force"
		}
		refuse(s.err.Error(), hint)
	case held != "" && held == m.sum:
		c.refuse(file, Mistakes{takenBack(s)})
	case !m.good():
		c.refuse(file, locate(&m.doc.findings))
	case was != nil && m != was && !c.force && isCutShort(s, was.doc.text) && s.isYounger(cutShort):
		c.lookAgain(s.modified.Add(cutShort))
		c.refuse(file, Mistakes{{File: s.name, Passing: true, Message: "is cut off, as a file is that is being written",
			Hint: fmt.Sprintf("if that is meant: it serves once it has lain still for %v, or with --force", cutShort)}})
	case was != nil && m != was && c.patient && rewritten && s.isYounger(overwriting) && takesAway(was, m):
		c.lookAgain(s.modified.Add(overwriting))
		c.chosen[file] = was
	default:
		c.chosen[file] = m
	}
}

// mayBeMeant reports whether somebody may have made a file unusable on purpose, as err
// says that it is. A file that is there and cannot be read may well have a domain in it.
func mayBeMeant(err error) bool {
	var why fileError
	return errors.As(err, &why) && why != errTooLarge && (why.err == nil || errors.Is(why.err, fs.ErrNotExist) || errors.Is(why.err, unix.ELOOP) || errors.Is(why.err, unix.EISDIR))
}

// takenBack is the mistake of a file that still holds what was taken back.
func takenBack(s source) Mistake {
	return Mistake{File: s.name, Message: "was taken back, since nobody confirmed it", Hint: "postern reload makes it serve"}
}

// overwriting is how long a map must stay unchanged before it serves, if it was written
// over another, takes something away from what serves, and nobody asked for it: it may be
// a part of what somebody sends slowly. Whoever is missing for a moment would be refused
// for good, and a mailbox whose path is missing would get its mail in another place. A
// file that takes the place of another is whole. It serves within a second all the same.
const overwriting = 900 * time.Millisecond

// isAt reports whether m was read from the same file as s, whatever that held. It is
// false for a map that was kept over a restart: nobody knows, and whoever edits a map and
// then starts the server does not want to wait.
func (m *domainMap) isAt(s source) bool {
	return m != nil && m.at != nil && s.file != nil && os.SameFile(m.at, s.file)
}

// isCutShort reports whether s is only the beginning of was, and lacks more of it than
// white space.
func isCutShort(s source, was string) bool {
	text, was := strings.TrimPrefix(s.text, byteOrderMark), strings.TrimRight(strings.TrimPrefix(was, byteOrderMark), " \t\r\n")
	return len(text) < len(was) && strings.HasPrefix(was, text)
}

func (c *choice) lookAgain(at time.Time) {
	if c.again.IsZero() || at.Before(c.again) {
		c.again = at
	}
}

// refuse chooses the old version of a file, if there is one, in place of the new one.
func (c *choice) refuse(file string, why Mistakes) {
	c.refused[file] = why
	if was := c.before[file]; was != nil {
		c.chosen[file] = was
	} else {
		delete(c.chosen, file)
	}
}

// settle refuses files until what is chosen is good as a whole, and returns it.
// Each round refuses at least one, and with all refused it is what serves.
func (c *choice) settle() (*Recipients, error) {
	for {
		if len(c.chosen) == 0 {
			return nil, c.nothing()
		}
		r, found := link(c.inOrder(), c.old, c.host, false)
		why, missedIn := make(map[string]Mistakes), make(map[string][]*domainMap)
		for _, fs := range found {
			file := filepath.Base(fs.doc.file)
			why[file], missedIn[file] = locate(fs), fs.missedIn
		}
		if len(why) == 0 && !c.force {
			c.lost(r, why)
		}
		switch {
		case len(why) > 0 && !c.blame(r, why, missedIn):
			return c.old, nil // which is good
		case len(why) > 0:
		case r.id == c.old.id:
			return c.old, nil
		default:
			return r, nil
		}
	}
}

func (c *choice) inOrder() []*domainMap { return byFile(slices.Collect(maps.Values(c.chosen))) }

func byFile(all []*domainMap) []*domainMap {
	slices.SortFunc(all, func(a, b *domainMap) int { return strings.Compare(a.file, b.file) })
	return all
}

// changed reports whether what is chosen for a file is not what serves.
func (c *choice) changed(file string) bool { return c.chosen[file] != c.before[file] }

// blame refuses the files that cause what is wrong, and reports whether it found any.
// They are the new ones among those that are wrong; if there are none, among those in
// which they miss something; if there are none, among those that they depend on; and else
// all that are new.
func (c *choice) blame(r *Recipients, why map[string]Mistakes, missedIn map[string][]*domainMap) bool {
	guilty := maps.Clone(why)
	maps.DeleteFunc(guilty, func(file string, _ Mistakes) bool { return !c.changed(file) })
	if len(guilty) == 0 {
		guilty = c.behind(why, func(file string) []*domainMap { return missedIn[file] })
	}
	if len(guilty) == 0 {
		guilty = c.behind(why, func(file string) []*domainMap { return c.dependencies(r, c.chosen[file]) })
	}
	if len(guilty) == 0 {
		guilty = c.allNew(why)
	}
	for file, ms := range guilty {
		c.refuse(file, ms)
	}
	return len(guilty) > 0
}

// behind returns the new files among the maps that those in why need.
func (c *choice) behind(why map[string]Mistakes, needs func(file string) []*domainMap) map[string]Mistakes {
	guilty := make(map[string]Mistakes)
	for _, file := range slices.Sorted(maps.Keys(why)) {
		for _, m := range needs(file) {
			if behind := m.base(); c.changed(behind) {
				guilty[behind] = append(guilty[behind], why[file]...)
			}
		}
	}
	return guilty
}

// allNew blames every file that is new, or gone, for all that is wrong.
func (c *choice) allNew(why map[string]Mistakes) map[string]Mistakes {
	var all Mistakes
	for _, file := range slices.Sorted(maps.Keys(why)) {
		all = append(all, why[file]...)
	}
	guilty := make(map[string]Mistakes)
	for _, files := range []map[string]*domainMap{c.chosen, c.before} {
		for file := range files {
			if c.changed(file) {
				guilty[file] = all
			}
		}
	}
	return guilty
}

// dependencies returns the maps that aliases of m lead to, now or before.
func (c *choice) dependencies(r *Recipients, m *domainMap) []*domainMap {
	seen := map[*domainMap]bool{m: true}
	todo := []*domainMap{m}
	var all []*domainMap
	for len(todo) > 0 {
		for ref := range todo[0].refs {
			for _, to := range []*domainMap{r.mapOf(ref), c.old.mapOf(ref)} {
				if to != nil && !seen[to] {
					seen[to] = true
					todo, all = append(todo, to), append(all, to)
				}
			}
		}
		todo = todo[1:]
	}
	return all
}

const forceHint = "if that is meant, reload with --force"

// lost adds to why what the new generation lacks of the old one, seemingly by accident,
// under the name of the file that it belongs in.
func (c *choice) lost(r *Recipients, why map[string]Mistakes) {
	var gone []string
	for name := range c.old.domains {
		if r.domains[name] == nil {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	for _, name := range gone {
		was := c.old.domains[name]
		file := filepath.Base(was.file)
		message := fmt.Sprintf("the domain %s would no longer be served", name)
		if c.chosen[file] == nil && c.refused[file] == nil {
			message = fmt.Sprintf("is gone, and %s with it", name)
		}
		why[file] = append(why[file], Mistake{File: was.file, Message: message, Hint: forceHint})
	}
	for _, m := range r.maps {
		was := c.old.mapOf(m.name)
		if was == nil || was == m || m.nextHop || was.nextHop {
			continue
		}
		gone, of := countMissing(&was.domain, &m.domain), was.size()
		if gone > c.limits.LoseNames && gone*100 > c.limits.LosePercent*of {
			why[m.base()] = append(why[m.base()], Mistake{File: m.file, Message: fmt.Sprintf("the domain %s would lose %d of its %d names", m.name, gone, of), Hint: forceHint})
		}
	}
}

// failure says what does not serve, nil if all does.
func (c *choice) failure() *Failure {
	if len(c.refused) == 0 {
		return nil
	}
	var (
		ms  Mistakes
		old []string
	)
	for _, file := range slices.Sorted(maps.Keys(c.refused)) {
		ms = append(ms, c.refused[file]...)
		if was := c.before[file]; was != nil {
			old = append(old, was.name)
		}
	}
	slices.Sort(old)
	return &Failure{Err: ms.sorted(), Old: append([]string{}, old...)}
}

// nothing says why there is nothing to serve.
func (c *choice) nothing() error {
	if f := c.failure(); f != nil {
		return f.Err
	}
	return errors.New("there is no recipient map that can be read")
}

// size returns how many names d accepts.
func (d *domain) size() (n int) {
	for range d.accepted() {
		n++
	}
	return n
}

// takesAway reports whether a map takes away or changes something that it said before of
// an address or of all.
func takesAway(before, after *domainMap) bool {
	d := compareDomain(before.instance(), after.instance(), 0)
	return before.name != after.name || d.Removed+d.Changed > 0
}

// countMissing counts the names that the domain accepted before and does not after.
func countMissing(before, after *domain) (n int) {
	for name := range before.accepted() {
		if f := after.exact([]byte(name)); f.name == "" || f.entry != nil && f.entry.refusal != "" {
			n++
		}
	}
	return n
}

// accepted yields the names of d that are not refused.
func (d *domain) accepted() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for name, e := range d.entries {
			if e.refusal == "" && !yield(name) {
				return
			}
		}
		for name := range d.names.all {
			if d.entries[name] == nil && !yield(name) {
				return
			}
		}
	}
}

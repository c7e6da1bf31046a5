package dns

import (
	"fmt"
	"slices"
	"strings"
)

// maxString is how long one string of a TXT record may be (RFC 1035, section 3.3).
const maxString = 255

// ZoneLine returns a record as a line of a zone file (RFC 1035, section 5.1),
// without its end, for name absolute and text as Client.Lookup returns it. Nothing
// that text holds gets out of the line, or is taken for a comment.
func ZoneLine(name string, ttl int, typ, text string) string {
	switch typ {
	case "TXT":
		var quoted []string
		for piece := range slices.Chunk([]byte(text), maxString) {
			quoted = append(quoted, `"`+strings.ReplaceAll(Escape(string(piece)), `"`, `\"`)+`"`)
		}
		if text = strings.Join(quoted, " "); text == "" {
			text = `""`
		}
	case "MX":
		pref, host, _ := strings.Cut(text, " ")
		text = pref + " " + zoneName(host)
	default:
		text = zoneField.Replace(Escape(text))
	}
	return fmt.Sprintf("%s\t%d\tIN\t%s\t%s", zoneName(name), ttl, typ, text)
}

// zoneField escapes what is printable and means something else in a zone file.
var zoneField = strings.NewReplacer(`"`, `\"`, ";", `\;`, "(", `\(`, ")", `\)`, "@", `\@`, "$", `\$`)

// zoneName returns name absolute.
func zoneName(name string) string {
	name = strings.ReplaceAll(zoneField.Replace(Escape(trimDot(name))), " ", `\032`)
	if name == "." {
		return name
	}
	return name + "."
}

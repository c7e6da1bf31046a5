package main

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"sync"
)

// text returns the message with the given ID as it is stored, lines ending in LF.
// It depends on the ID alone, so that what is found can be compared octet by
// octet: a file of the right length may be full of zeros. None of its lines
// begins with "From ".
func text(id string) []byte {
	if t, ok := texts.Load(id); ok {
		return t.([]byte)
	}
	t := newText(id)
	texts.Store(id, t)
	return t
}

// texts are those that were made, by ID: each is asked for in every state.
var texts sync.Map

func newText(id string) []byte {
	hash := fnv.New64a()
	hash.Write([]byte(id))
	random := rand.New(rand.NewPCG(hash.Sum64(), 1))
	sizes := []int{200, 200, 2_000, 6_000, 6_000, 20_000, 60_000}
	size := sizes[random.IntN(len(sizes))]
	size += random.IntN(size)
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%s\nFrom: lab@client.example\nSubject: a message of the crash laboratory\n\n", idField, id)
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for b.Len() < size {
		for range 1 + random.IntN(76) {
			b.WriteByte(letters[random.IntN(len(letters))])
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "end of %s\n", id)
	return b.Bytes()
}

const idField = "Lab-Message: "

// onWire returns text as a client sends it. No line of it begins with a dot.
func onWire(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")) }

// identify returns the ID of the message that content is, with trace fields on
// top of it; whole is false if that is not all of it, or more.
func identify(content []byte) (id string, whole bool) {
	at := bytes.Index(content, []byte("\n"+idField))
	if at < 0 {
		return "", false
	}
	trace, rest := content[:at+1], content[at+1:]
	line, _, ended := bytes.Cut(rest[len(idField):], []byte("\n"))
	id = string(line)
	if !ended || strings.ContainsRune(string(trace), 0) || !bytes.HasPrefix(trace, []byte("Return-Path: <")) {
		return id, false
	}
	return id, bytes.Equal(rest, text(id))
}

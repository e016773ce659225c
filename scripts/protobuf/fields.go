// Prints what generated.proto does not say about Kubernetes' types: how Go's encoding/json names and omits each field.
//
// Run by generate.py in a module of its own. Prints one JSON object: the message of every kind that the groups in scheme.go register, and for every
// message reachable from them its fields in the order of their numbers, as their struct tags and Go types say.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strconv"
	"strings"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Field is what one struct field's tags and type say.
type Field struct {
	Number    int    `json:"number"`
	JSON      string `json:"json"`
	Inline    bool   `json:"inline"`
	Pointer   bool   `json:"pointer"`
	OmitEmpty bool   `json:"omitEmpty"`
}

// Output is everything this program finds out.
type Output struct {
	Kinds    map[string]string  `json:"kinds"`
	Messages map[string][]Field `json:"messages"`
}

func protoName(t reflect.Type) string {
	return strings.NewReplacer("/", ".", "-", "_").Replace(t.PkgPath()) + "." + t.Name()
}

func (o *Output) walk(t reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		o.walk(t.Elem())
		return
	case reflect.Struct:
	default:
		return
	}
	name := protoName(t)
	if _, seen := o.Messages[name]; seen || !strings.HasPrefix(name, "k8s.io.") {
		return
	}
	o.Messages[name] = []Field{}
	fields := []Field{}
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		tag := f.Tag.Get("protobuf")
		if tag == "" || tag == "-" {
			continue
		}
		fields = append(fields, field(name, f, tag))
		o.walk(f.Type)
	}
	sort.Slice(fields, func(a, b int) bool { return fields[a].Number < fields[b].Number })
	o.Messages[name] = fields
}

func field(owner string, f reflect.StructField, tag string) Field {
	parts := strings.Split(tag, ",")
	number, err := strconv.Atoi(parts[1])
	if err != nil {
		panic(fmt.Sprintf("%s.%s: protobuf tag %q: %v", owner, f.Name, tag, err))
	}
	made := Field{Number: number, Pointer: f.Type.Kind() == reflect.Pointer}
	options := strings.Split(f.Tag.Get("json"), ",")
	made.JSON = options[0]
	for _, option := range options[1:] {
		made.Inline = made.Inline || option == "inline"
		made.OmitEmpty = made.OmitEmpty || option == "omitempty" || option == "omitzero"
	}
	made.Inline = made.Inline || (f.Anonymous && made.JSON == "")
	return made
}

func main() {
	scheme := newScheme()
	out := Output{Kinds: map[string]string{}, Messages: map[string][]Field{}}
	for gvk, t := range scheme.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal {
			continue
		}
		out.Kinds[gvk.GroupVersion().String()+" "+gvk.Kind] = protoName(t)
		out.walk(t)
	}
	out.walk(reflect.TypeOf(meta.WatchEvent{}))
	out.walk(reflect.TypeOf(runtime.Unknown{}))
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		panic(err)
	}
}

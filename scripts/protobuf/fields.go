// Prints what generated.proto does not say about Kubernetes' types: how Go's encoding/json names and omits each field.
//
// Run by generate.py in a module of its own. Prints one JSON object: the message of every kind that the groups below register, and for every
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

	admissionregistration "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	certificates "k8s.io/api/certificates/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	events "k8s.io/api/events/v1"
	networking "k8s.io/api/networking/v1"
	node "k8s.io/api/node/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	scheduling "k8s.io/api/scheduling/v1"
	storage "k8s.io/api/storage/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1beta1 "k8s.io/apimachinery/pkg/apis/meta/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
)

var register = []func(*runtime.Scheme) error{
	admissionregistration.AddToScheme, apps.AddToScheme, authentication.AddToScheme, authorization.AddToScheme,
	autoscalingv1.AddToScheme, autoscalingv2.AddToScheme, batch.AddToScheme, certificates.AddToScheme,
	coordination.AddToScheme, core.AddToScheme, discovery.AddToScheme, events.AddToScheme,
	networking.AddToScheme, node.AddToScheme, policy.AddToScheme, rbac.AddToScheme,
	scheduling.AddToScheme, storage.AddToScheme, apiextensions.AddToScheme,
	meta.AddMetaToScheme, metav1beta1.AddMetaToScheme,
}

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
	scheme := runtime.NewScheme()
	for _, add := range register {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
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

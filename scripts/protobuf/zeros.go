// Prints, as test data, objects of every kind in which nothing is set but pointers and lists, down to some depth: as Go's JSON and, in
// base64, as Go's protobuf. They show which zero values Go leaves out and which it does not. Run by generate.py with scheme.go.
package main

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

const depths = 4

// opaque types have fields that protobuf does not know, or an encoding of their own.
var opaque = map[string]bool{
	"resource.Quantity": true, "v1.Time": true, "v1.MicroTime": true, "runtime.RawExtension": true, "v1.FieldsV1": true, "v1.JSON": true,
	"intstr.IntOrString": true, "v1.JSONSchemaPropsOrArray": true, "v1.JSONSchemaPropsOrBool": true, "v1.JSONSchemaPropsOrStringArray": true,
}

// fill sets pointers to zero values, and lists to one zero value.
func fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Pointer:
		if depth > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), depth-1)
		}
	case reflect.Slice:
		if depth > 0 && v.Type().Elem().Kind() != reflect.Uint8 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0), depth-1)
		}
	case reflect.Struct:
		if opaque[v.Type().String()] {
			return
		}
		for i := 0; i < v.NumField(); i++ {
			if v.Type().Field(i).Tag.Get("protobuf") != "" {
				fill(v.Field(i), depth)
			}
		}
	}
}

// Object is one object in both forms.
type Object struct {
	JSON     any    `json:"json"`
	Protobuf []byte `json:"protobuf"`
}

func main() {
	scheme := newScheme()
	serializer := protobuf.NewSerializer(scheme, scheme)
	objects := []Object{}
	for depth := 0; depth < depths; depth++ {
		for gvk, t := range scheme.AllKnownTypes() {
			made := reflect.New(t)
			obj, isObject := made.Interface().(runtime.Object)
			if gvk.Version == runtime.APIVersionInternal || gvk.Kind == "WatchEvent" || gvk.Kind == "Table" || !isObject {
				continue
			}
			fill(made.Elem(), depth)
			obj.GetObjectKind().SetGroupVersionKind(gvk)
			var encoded bytes.Buffer
			if err := serializer.Encode(obj, &encoded); err != nil {
				panic(err)
			}
			// read back, so that what protobuf itself loses is not in the JSON either
			seen, _, err := serializer.Decode(encoded.Bytes(), nil, nil)
			if err != nil {
				panic(err)
			}
			seen.GetObjectKind().SetGroupVersionKind(gvk)
			objects = append(objects, Object{seen, encoded.Bytes()})
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(objects); err != nil {
		panic(err)
	}
}

// Pulumi's provider for Kubernetes, as upstream's own main package starts it. That one embeds two files that upstream's build
// generates and its module lacks; what they are generated from is in the module, and lies beside this program when it is built.
package main

import (
	"bytes"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
)

const module = "github.com/pulumi/pulumi-kubernetes/provider/v4"

func main() {
	version := moduleVersion()
	// Generation adds the version to the schema, and nothing else.
	schema := bytes.Replace(read("schema.json"), []byte("{"), []byte(`{"version": "`+version+`",`), 1)
	provider.Serve("kubernetes", version, schema, read("terraform-mapping.json"))
}

func moduleVersion() string {
	if built, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range built.Deps {
			if dependency.Path == module {
				return strings.TrimPrefix(dependency.Version, "v")
			}
		}
	}
	log.Fatalf("this program was built without %s", module)
	return ""
}

func read(name string) []byte {
	program, err := os.Executable()
	if err != nil {
		log.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(filepath.Dir(program), "..", "schema", name))
	if err != nil {
		log.Fatal(err)
	}
	return content
}

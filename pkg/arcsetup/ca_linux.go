package arcsetup

import (
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/arcinit/arcinit/internal/regular"
	"github.com/arcinit/arcinit/pkg/arcsetup/plan"
)

const (
	// bundle is where TLS programs look for the certificates that they trust, imageBundle where the image has its own.
	bundle      = "/etc/ssl/certs/ca-certificates.crt"
	imageBundle = "/cacerts/ca-certificates.crt"
)

// certificates puts the image's own certificates, which are outside of /etc, and those of the host where TLS programs look.
func (g *Guest) certificates() (bool, error) {
	dir, own := g.Config().Certificates, bundle
	switch linked := g.exists(imageBundle); {
	case dir == "" && !linked:
		return false, plan.Absent(fmt.Errorf("no %s, and no certificates configured", imageBundle))
	case dir == "":
		return g.symlink(imageBundle, bundle)
	case linked:
		own = imageBundle
	}
	old, err := g.readFile(own)
	r := result{err: err}
	files, err := os.ReadDir(g.path(dir))
	if err != nil {
		r.add(false, plan.Fallback(fmt.Errorf("ca.certificates: %w", err)))
	}
	text, there := []byte(strings.TrimRight(old, "\n")+"\n"), map[string]bool{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		there[string(block.Bytes)] = true
	}
	for _, file := range files {
		path := filepath.Join(dir, file.Name())
		data, err := regular.Read(g.Root, path, maxFile, nil)
		if err == nil {
			text, err = appendCertificates(text, data, there)
		}
		if err != nil {
			r.add(false, plan.Fallback(fmt.Errorf("%s: %w", path, err)))
		}
	}
	r.add(g.writeFile(bundle, string(text), 0o644))
	return r.changed, r.err
}

// appendCertificates appends to a bundle the certificates in a PEM file that the bundle lacks. The error says what else is there.
func appendCertificates(bundle, data []byte, there map[string]bool) ([]byte, error) {
	blocks, added := 0, 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		// The file may have a private key, which no container should see.
		if blocks++; block.Type == "CERTIFICATE" && isSequence(block.Bytes) && !there[string(block.Bytes)] {
			added++
			there[string(block.Bytes)] = true
			bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
		}
	}
	if added == 0 || added < blocks {
		return bundle, fmt.Errorf("%d certificates added; ignored %d PEM blocks that are not certificates or were there already", added, blocks-added)
	}
	return bundle, nil
}

// isSequence reports whether der is one sequence, as every certificate is (X.690 section 8.1, RFC 5280 section 4.1), of at least
// 128 bytes. Who signed it, and until when it is valid, TLS programs find out.
func isSequence(der []byte) bool {
	return len(der) > 4 && der[0] == 0x30 &&
		(der[1] == 0x81 && int(der[2]) == len(der)-3 || der[1] == 0x82 && int(binary.BigEndian.Uint16(der[2:])) == len(der)-4)
}

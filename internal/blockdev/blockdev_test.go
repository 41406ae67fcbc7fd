package blockdev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"unicode/utf16"
)

// id is a UUID on the disk, and as text where all of it is big-endian and where
// the first three numbers are little-endian.
const (
	id           = "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
	idText       = "00112233-4455-6677-8899-aabbccddeeff"
	idMixed      = "33221100-5544-7766-8899-aabbccddeeff"
	superblocks  = 1024
	btrfsAt      = 64 << 10
	le16, le32   = 2, 4
	extMagic     = superblocks + 0x38
	extCompat    = superblocks + 0x5c
	extIncompat  = superblocks + 0x60
	extReadOnly  = superblocks + 0x64
	sectorOfTest = 512
)

// image is a device that has these bytes at these places, and zeros elsewhere.
func image(size int, at map[int]string) []byte {
	b := make([]byte, size)
	for offset, text := range at {
		copy(b[offset:], text)
	}
	return b
}

// le is a number, little-endian.
func le(size int, n uint64) string {
	return string(binary.LittleEndian.AppendUint64(nil, n)[:size])
}

func TestReadSuperblock(t *testing.T) {
	ext := func(compat, incompat, readOnly uint64) map[int]string {
		return map[int]string{
			extMagic: le(le16, 0xef53), extCompat: le(le32, compat), extIncompat: le(le32, incompat), extReadOnly: le(le32, readOnly),
			superblocks + 0x68: id, superblocks + 0x78: "sixteen letters.and more",
		}
	}
	for _, tt := range []struct {
		name string
		at   map[int]string
		want Superblock
	}{
		{"nothing", nil, Superblock{}},
		{"ext2", ext(0x38, 0x2, 0x3), Superblock{Type: "ext4", Label: "sixteen letters.", UUID: idText}},
		{"ext3", ext(0x3c, 0x2|0x4, 0x3), Superblock{Type: "ext4", Label: "sixteen letters.", UUID: idText}},
		{"ext4 by extents", ext(0x3c, 0x2|0x40, 0x3), Superblock{Type: "ext4", Label: "sixteen letters.", UUID: idText}},
		{"ext4 by huge_file, without a journal", ext(0x38, 0x2, 0x8), Superblock{Type: "ext4", Label: "sixteen letters.", UUID: idText}},
		{"a journal's device", ext(0x4, 0x8, 0), Superblock{}},
		{"erofs", map[int]string{superblocks: "\xe2\xe1\xf5\xe0", superblocks + 48: id, superblocks + 64: "root"}, Superblock{Type: "erofs", Label: "root", UUID: idText}},
		{"erofs without names", map[int]string{superblocks: "\xe2\xe1\xf5\xe0"}, Superblock{Type: "erofs"}},
		{"xfs", map[int]string{0: "XFSB", 32: id, 108: "twelve bytes, no more"}, Superblock{Type: "xfs", Label: "twelve bytes", UUID: idText, Detail: 'r'}},
		{"squashfs", map[int]string{0: "hsqs"}, Superblock{Type: "squashfs"}},
		{"LUKS", map[int]string{0: "LUKS\xba\xbe\x00\x02", 168: "6ba7b811-9dad-11d1-80b4-00c04fd430c8"},
			Superblock{Type: "crypto_LUKS", UUID: "6ba7b811-9dad-11d1-80b4-00c04fd430c8"}},
		{"btrfs", map[int]string{btrfsAt + 0x40: "_BHRfS_M", btrfsAt + 0x20: id, btrfsAt + 0x12b: strings.Repeat("l", 300)}, Superblock{Type: "btrfs", Label: strings.Repeat("l", 256), UUID: idText}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadSuperblock(bytes.NewReader(image(128<<10, tt.at)))
			if err != nil || got != tt.want {
				t.Errorf("ReadSuperblock = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

// TestTruncated reads devices that end early: in the middle of what is looked at,
// they have what stands before their end.
func TestTruncated(t *testing.T) {
	whole := image(70<<10, map[int]string{superblocks: "\xe2\xe1\xf5\xe0", superblocks + 48: id, superblocks + 64: "root"})
	for size, want := range map[int]Superblock{
		0: {}, superblocks: {}, superblocks + 3: {}, superblocks + 4: {Type: "erofs"},
		superblocks + 66: {Type: "erofs", Label: "ro", UUID: idText},
	} {
		got, err := ReadSuperblock(bytes.NewReader(whole[:size]))
		if err != nil || got != want {
			t.Errorf("of %d bytes: %+v, %v, want %+v", size, got, err, want)
		}
	}
	for size := range 600 {
		if table, err := ReadTable(bytes.NewReader(mbr(0xee)[:min(size, 512)]), sectorOfTest); size >= 512 && err == nil {
			t.Errorf("of %d bytes: a GPT without a header is %+v", size, table)
		}
	}
}

type broken struct{}

var errMedium = errors.New("medium error")

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errMedium }

func TestUnreadable(t *testing.T) {
	if _, err := ReadSuperblock(broken{}); !errors.Is(err, errMedium) {
		t.Errorf("ReadSuperblock: %v", err)
	}
	if _, err := ReadTable(broken{}, sectorOfTest); !errors.Is(err, errMedium) {
		t.Errorf("ReadTable: %v", err)
	}
}

// mbr is a first sector with one partition of this type.
func mbr(kind byte) []byte {
	return image(512, map[int]string{440: "\x78\x56\x34\x12", 446 + 4: string([]byte{kind}), 510: "\x55\xaa"})
}

func TestMBR(t *testing.T) {
	table, err := ReadTable(bytes.NewReader(mbr(0x83)), sectorOfTest)
	if err != nil {
		t.Fatal(err)
	}
	for number, want := range map[int]string{1: "12345678-01", 5: "12345678-05", 31: "12345678-1f"} {
		if got := table.Partition(number); got != (Partition{UUID: want}) {
			t.Errorf("partition %d is %+v, want %s", number, got, want)
		}
	}
	table, err = ReadTable(bytes.NewReader(image(512, map[int]string{440: "\x78\x56\x34\x12"})), sectorOfTest)
	if got := table.Partition(1); err != nil || got != (Partition{}) {
		t.Errorf("without its mark an MBR has %+v, %v", got, err)
	}
}

// gpt is the beginning of a disk whose second and fifth partition have names.
// change may spoil it, before the checksums are made.
func gpt(blockSize int, change func(header, entries []byte)) []byte {
	const count, size = 8, 256
	entries := make([]byte, count*size)
	for _, number := range []int{2, 5} {
		entry := entries[(number-1)*size:]
		copy(entry, "a type's 16 byte")
		copy(entry[16:], id)
		name, _ := binary.Append(nil, binary.LittleEndian, utf16.Encode([]rune("größe "+string(rune('0'+number)))))
		copy(entry[56:128], name)
	}
	header := image(92, map[int]string{
		0: "EFI PART", 12: le(le32, 92), 72: le(8, 3), 80: le(le32, count), 84: le(le32, size),
	})
	if change != nil {
		change(header, entries)
	}
	if le32Of(header[88:]) == 0 {
		binary.LittleEndian.PutUint32(header[88:], crc32.ChecksumIEEE(entries))
	}
	if le32Of(header[16:]) == 0 {
		binary.LittleEndian.PutUint32(header[16:], crc32.ChecksumIEEE(header))
	}
	return image(3*blockSize+len(entries), map[int]string{
		0: string(mbr(0xee)), blockSize: string(header), 3 * blockSize: string(entries),
	})
}

func le32Of(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }

func TestGPT(t *testing.T) {
	for _, blockSize := range []int{512, 4096} {
		table, err := ReadTable(bytes.NewReader(gpt(blockSize, nil)), blockSize)
		if err != nil {
			t.Fatal(err)
		}
		for number, want := range map[int]Partition{1: {}, 2: {idMixed, "größe 2"}, 5: {idMixed, "größe 5"}, 9: {}} {
			if got := table.Partition(number); got != want {
				t.Errorf("blocks of %d: partition %d is %+v, want %+v", blockSize, number, got, want)
			}
		}
	}
}

func TestDamagedGPT(t *testing.T) {
	put := binary.LittleEndian.PutUint32
	for what, change := range map[string]func(header, entries []byte){
		"no header":                   func(h, _ []byte) { h[0] = 'X' },
		"header too large":            func(h, _ []byte) { put(h[12:], 1<<32-1) },
		"header too small":            func(h, _ []byte) { put(h[12:], 0) },
		"wrong checksum of header":    func(h, _ []byte) { put(h[16:], 1) },
		"wrong checksum of entries":   func(h, _ []byte) { put(h[88:], 1) },
		"too many entries":            func(h, _ []byte) { put(h[80:], 1<<32-1) },
		"entries too large":           func(h, _ []byte) { put(h[84:], 1<<31) },
		"entries too small":           func(h, _ []byte) { put(h[84:], 0) },
		"entries behind the end":      func(h, _ []byte) { put(h[72:], 1<<30) },
		"entries beyond every device": func(h, _ []byte) { put(h[76:], 1<<25+1<<24) },
	} {
		if table, err := ReadTable(bytes.NewReader(gpt(512, change)), 512); err == nil || table.Partition(2) != (Partition{}) {
			t.Errorf("%s: ReadTable = %+v, %v", what, table, err)
		}
	}
	if _, err := ReadTable(bytes.NewReader(gpt(512, nil)), 0); err == nil {
		t.Error("blocks of no bytes are taken")
	}
}

// counted counts what is read.
type counted struct {
	io.ReaderAt
	bytes int
}

func (c *counted) ReadAt(b []byte, offset int64) (int, error) {
	c.bytes += len(b)
	return c.ReaderAt.ReadAt(b, offset)
}

func FuzzRead(f *testing.F) {
	f.Add(gpt(512, nil), 512)
	f.Add(mbr(0x83), 4096)
	f.Add(image(2048, map[int]string{extMagic: "\x53\xef"}), 0)
	f.Fuzz(func(t *testing.T, disk []byte, blockSize int) {
		r := &counted{ReaderAt: bytes.NewReader(disk)}
		if _, err := ReadSuperblock(r); err != nil {
			t.Errorf("ReadSuperblock: %v", err)
		}
		table, _ := ReadTable(r, blockSize)
		table.Partition(1)
		if r.bytes > 4<<20 {
			t.Errorf("%d bytes were read", r.bytes)
		}
	})
}

// TestSize reads how much of its device each file system uses.
func TestSize(t *testing.T) {
	be := func(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }
	for name, tt := range map[string]struct {
		at   map[int]string
		want Superblock
	}{
		"ext4, small": {map[int]string{extMagic: le(le16, 0xef53), superblocks + 4: le(le32, 10), superblocks + 0x18: le(le32, 2), superblocks + 0x150: le(le32, 7)},
			Superblock{Type: "ext4", Size: 10 * 4096}},
		"ext4, 64 bit": {map[int]string{extMagic: le(le16, 0xef53), superblocks + 4: le(le32, 1), superblocks + 0x18: le(le32, 0), extIncompat: le(le32, 0x80), superblocks + 0x150: le(le32, 1)},
			Superblock{Type: "ext4", Size: (1<<32 + 1) * 1024}},
		"ext4, absurd": {map[int]string{extMagic: le(le16, 0xef53), superblocks + 4: le(le32, 1<<32-1), superblocks + 0x18: le(le32, 1<<32-1), extIncompat: le(le32, 0x80), superblocks + 0x150: le(le32, 1<<32-1)},
			Superblock{Type: "ext4"}},
		"xfs": {map[int]string{0: "XFSB" + be(4096)[4:] + be(1000), 127: "\x19"}, Superblock{Type: "xfs", Size: 4096 * 1000, Detail: 25}},
		"btrfs": {map[int]string{btrfsAt + 0x40: "_BHRfS_M", btrfsAt + 0x70: le(8, 99), btrfsAt + 0xc9: le(8, 3), btrfsAt + 0xd1: le(8, 1<<30)},
			Superblock{Type: "btrfs", Size: 1 << 30, Detail: 3}},
	} {
		if got, err := ReadSuperblock(bytes.NewReader(image(128<<10, tt.at))); err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, tt.want)
		}
	}
}

func TestIsZero(t *testing.T) {
	device := bytes.NewReader(image(1<<20, map[int]string{700_000: "x"}))
	for _, tt := range []struct {
		offset, n int64
		want      bool
	}{{0, 700_000, true}, {0, 700_001, false}, {700_001, 1 << 30, true}, {2 << 20, 5, true}, {600_000, 1 << 20, false}} {
		if got, err := IsZero(device, tt.offset, tt.n); got != tt.want || err != nil {
			t.Errorf("%d bytes at %d: %v, %v", tt.n, tt.offset, got, err)
		}
	}
	if _, err := IsZero(broken{}, 0, 10); !errors.Is(err, errMedium) {
		t.Errorf("a broken device: %v", err)
	}
}

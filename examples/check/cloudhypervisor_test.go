package check

import (
	"fmt"
	"strings"
)

// object is a schema of a JSON object: its keys, and for each key "string", "integer", "boolean", an object, or a list of one
// of these. A key that ends in "!" must be there.
type object map[string]any

type list struct{ of any }

// cloudHypervisor has the keys of VmConfig that the example uses, with all keys of their objects, as vm.create takes them in
// Cloud Hypervisor 53 (vmm/src/api/openapi/cloud-hypervisor.yaml). Cloud Hypervisor itself ignores keys that it does not know.
var cloudHypervisor = object{
	"cpus": object{
		"boot_vcpus!": "integer", "max_vcpus!": "integer", "kvm_hyperv": "boolean", "max_phys_bits": "integer", "nested": "boolean", "core_scheduling": "string",
	},
	"memory": object{
		"size!": "integer", "hotplug_size": "integer", "hotplugged_size": "integer", "mergeable": "boolean", "hotplug_method": "string", "shared": "boolean",
		"hugepages": "boolean", "hugepage_size": "integer", "prefault": "boolean", "reserve": "boolean", "thp": "boolean",
	},
	"payload!": object{"firmware": "string", "kernel": "string", "cmdline": "string", "initramfs": "string", "igvm": "string", "host_data": "string"},
	"fs":       list{onPCI(object{"tag!": "string", "socket!": "string", "num_queues!": "integer", "queue_size!": "integer"})},
	"net": list{onPCI(object{
		"tap": "string", "ip": "string", "mask": "string", "mac": "string", "host_mac": "string", "mtu": "integer", "num_queues": "integer", "queue_size": "integer",
		"vhost_user": "boolean", "vhost_socket": "string", "vhost_mode": "string", "offload_tso": "boolean", "offload_ufo": "boolean", "offload_csum": "boolean",
	})},
	"disks": list{onPCI(object{
		"path": "string", "readonly": "boolean", "direct": "boolean", "num_queues": "integer", "queue_size": "integer", "vhost_user": "boolean",
		"vhost_socket": "string", "serial": "string", "rate_limit_group": "string", "backing_files": "boolean", "sparse": "boolean", "image_type": "string",
		"lock_granularity": "string",
	})},
	"vsock":    onPCI(object{"cid!": "integer", "socket!": "string"}),
	"rng":      onPCI(object{"src!": "string"}),
	"console":  onPCI(object{"mode!": "string", "file": "string", "socket": "string"}),
	"serial":   object{"mode!": "string", "file": "string", "socket": "string"},
	"pvpanic":  "boolean",
	"watchdog": "boolean",
	"iommu":    "boolean",
}

// onPCI adds the keys that every device on PCI has.
func onPCI(device object) object {
	for key, want := range (object{"id": "string", "pci_segment": "integer", "pci_device_id": "integer", "iommu": "boolean"}) {
		device[key] = want
	}
	return device
}

// checkCloudHypervisor checks the body of vm.create against the schema.
func checkCloudHypervisor(text []byte) error {
	var v any
	if err := strictly(text, &v); err != nil {
		return err
	}
	return fits("", v, cloudHypervisor)
}

// fits reports whether a value at a path is as the schema wants it.
func fits(path string, v, want any) error {
	ok := false
	switch want := want.(type) {
	case object:
		fields, isObject := v.(map[string]any)
		for key := range fields {
			field, known := want[key]
			if !known {
				field, known = want[key+"!"]
			}
			if !known {
				return fmt.Errorf("%s.%s: no such key", path, key)
			}
			if err := fits(path+"."+key, fields[key], field); err != nil {
				return err
			}
		}
		for key := range want {
			name, required := strings.CutSuffix(key, "!")
			if _, there := fields[name]; required && !there {
				return fmt.Errorf("%s.%s is missing", path, name)
			}
		}
		ok = isObject
	case list:
		items, isList := v.([]any)
		for i, item := range items {
			if err := fits(fmt.Sprintf("%s[%d]", path, i), item, want.of); err != nil {
				return err
			}
		}
		ok = isList
	case string:
		switch v := v.(type) {
		case string:
			ok = want == "string"
		case bool:
			ok = want == "boolean"
		case float64:
			ok = want == "integer" && v == float64(int64(v))
		}
	}
	if !ok {
		return fmt.Errorf("%s is %v, want %v", path, v, want)
	}
	return nil
}

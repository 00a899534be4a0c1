package mask

// class is how a Postgres type is masked.
type class uint8

const (
	classOther class = iota // not known: masked as NULL
	classText
	classInt2
	classInt4
	classInt8
	classNumeric
	classFloat4
	classFloat8
	classDate
	classTimestamp
	classTimestamptz
	classTime
	classUUID
	classInet
	classCIDR
	classJSON
	classJSONB
	classBytea
	classMAC
	classXML
	classPlain // numbers, times and the like that are not masked but never scanned: NULL when masked
	classArray
)

// classOf gives the class of a built-in type. OIDs of built-in types are fixed.
func classOf(oid uint32) class {
	switch oid {
	case 25, 1043, 1042, 19, 705: // text, varchar, bpchar, name, unknown
		return classText
	case 21:
		return classInt2
	case 23:
		return classInt4
	case 20:
		return classInt8
	case 1700:
		return classNumeric
	case 700:
		return classFloat4
	case 701:
		return classFloat8
	case 1082:
		return classDate
	case 1114:
		return classTimestamp
	case 1184:
		return classTimestamptz
	case 1083:
		return classTime
	case 2950:
		return classUUID
	case 869:
		return classInet
	case 650:
		return classCIDR
	case 114:
		return classJSON
	case 3802:
		return classJSONB
	case 17:
		return classBytea
	case 829, 774: // macaddr, macaddr8
		return classMAC
	case 142:
		return classXML
	case 16, 26, 27, 28, 29, 790, 1186, 1266, 5069, 3220, 2970, // bool, oid, tid, xid, cid, money, interval, timetz, xid8, pg_lsn, txid_snapshot
		600, 601, 602, 603, 604, 628, 718, // geometry
		1560, 1562: // bit, varbit
		return classPlain
	}
	if elementOf(oid) != 0 {
		return classArray
	}
	return classOther
}

// elementOf gives the element type of a built-in array type, or 0.
func elementOf(oid uint32) uint32 {
	switch oid {
	case 1009:
		return 25
	case 1015:
		return 1043
	case 1014:
		return 1042
	case 1003:
		return 19
	case 1005:
		return 21
	case 1007:
		return 23
	case 1016:
		return 20
	case 1231:
		return 1700
	case 1021:
		return 700
	case 1022:
		return 701
	case 1182:
		return 1082
	case 1115:
		return 1114
	case 1185:
		return 1184
	case 1183:
		return 1083
	case 2951:
		return 2950
	case 1041:
		return 869
	case 651:
		return 650
	case 199:
		return 114
	case 3807:
		return 3802
	case 1001:
		return 17
	case 1000:
		return 16
	case 1028:
		return 26
	case 1040:
		return 829
	case 143:
		return 142
	case 791:
		return 790
	case 1187:
		return 1186
	}
	return 0
}

// scannable reports whether values of a class can hold what detection looks
// for. Numbers, times and the like are not searched.
func scannable(c, elem class, wanted kindSet) bool {
	if c == classArray {
		c = elem
	}
	switch c {
	case classText, classJSON, classJSONB, classBytea, classXML, classOther:
		return true
	case classInet, classCIDR:
		return wanted.has(kindIP)
	case classMAC:
		return wanted.has(kindMAC)
	}
	return false
}

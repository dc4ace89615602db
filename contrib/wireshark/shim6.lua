-- Shim6 (RFC 5533) and REAP (RFC 5534) dissector for Wireshark 4.0 and later: IPv6 next header 140.
--
--   tshark -X lua_script:contrib/wireshark/shim6.lua -r capture.pcap -V
--   wireshark -X lua_script:contrib/wireshark/shim6.lua
--
-- or copy it to the personal plugin folder (Help, About Wireshark, Folders; mostly ~/.local/lib/wireshark/plugins).
--
-- It takes the place of Wireshark's own dissector, which (seen in 4.0.17) does not step over the octet of Reserved1
-- and S, adds an offset twice, and reads options four octets off, so that correct messages look malformed to it. As the
-- name "shim6" is taken by that one, fields are called shim6x.*:
--
--   shim6x.type == 67                     Probes (also those quoted in Error messages)
--   shim6x.tag == 0x123456789abc          everything that carries this context tag
--   shim6x.locator == 2001:db8:a::1       locator lists that hold it
--   _ws.expert.severity >= "Warning"      anything that a Shim6 host would drop or refuse
--
-- The payload extension header is followed by whatever its Next Header tells. The checksum of what follows (UDP, ...)
-- is over the ULIDs, which the packet does not carry: a verification by Wireshark (off by default) would fail.

local shim6x = Proto("shim6x", "Shim6 Multihoming")
-- bit32 is gone in Wireshark's later Lua, bit is Wireshark's own.
local band = (bit or bit32).band

-- Names of values ------------------------------------------------------------------------------------------------

local IP_PROTOCOLS = {
    [0] = "Hop-by-Hop Options", [6] = "TCP", [17] = "UDP", [43] = "Routing", [44] = "Fragment", [58] = "ICMPv6",
    [59] = "No Next Header", [60] = "Destination Options", [140] = "Shim6",
}
local TYPES = {
    [1] = "I1", [2] = "R1", [3] = "I2", [4] = "R2", [5] = "R1bis", [6] = "I2bis", [64] = "Update Request",
    [65] = "Update Acknowledgement", [66] = "Keepalive", [67] = "Probe", [68] = "Error",
}
local OPTIONS = {
    [1] = "Responder Validator", [2] = "Locator List", [3] = "Locator Preferences",
    [4] = "CGA Parameter Data Structure", [5] = "CGA Signature", [6] = "ULID Pair",
    [7] = "Forked Instance Identifier", [10] = "Keepalive Timeout",
    [16384] = "Capabilities (libshim6)", [16385] = "Flow (libshim6)",
    [16386] = "Keepalive Timeout in milliseconds (libshim6)",
}
local METHODS = { [0] = "Reserved", [1] = "HBA", [2] = "CGA", [255] = "Reserved" }
local STATES = { [0] = "Operational", [1] = "Exploring", [2] = "InboundOk", [3] = "invalid" }
local ERRORS = {
    [0] = "Unknown Shim6 message type", [1] = "Critical option not recognized",
    [2] = "Locator verification method failed", [3] = "Locator List Generation number out of sync",
    [4] = "Error in the number of locators",
}
for code = 120, 127 do ERRORS[code] = "Debugging" end
local CHECKSUM_STATUS = { [0] = "Bad", [1] = "Good", [2] = "Unverified" }

-- Octets of the fixed part of each type, and the options that RFC 5533 section 5 and RFC 5534 list for it.
local FIXED = {
    [1] = 16, [2] = 16, [3] = 24, [4] = 16, [5] = 16, [6] = 32, [64] = 16, [65] = 16, [66] = 16, [67] = 16, [68] = 8,
}
local function set(...)
    local members = {}
    for _, member in ipairs({ ... }) do members[member] = true end
    return members
end
local LISTED = {
    [1] = set(6, 7, 16385), [2] = set(1),
    [3] = set(1, 2, 3, 4, 5, 6, 7, 10, 16384, 16385, 16386), [4] = set(2, 3, 4, 5, 10, 16384, 16386),
    [5] = set(1), [6] = set(1, 2, 3, 4, 5, 6, 7, 10, 16384, 16385, 16386),
    [64] = set(2, 3, 4, 5, 10, 16384, 16386), [65] = set(), [66] = set(),
    [67] = set(),
}
local NEEDS_VALIDATOR = set(2, 3, 5, 6)

-- Fields ---------------------------------------------------------------------------------------------------------

local f, f_name = {}, {}
local function field(key, kind, name, ...)
    f_name[key] = name
    f[key] = ProtoField[kind]("shim6x." .. key:gsub("__", "."), name, ...)
end
field("nxt", "uint8", "Next Header", base.DEC, IP_PROTOCOLS)
field("len", "uint8", "Hdr Ext Len", base.DEC)
field("p", "uint8", "P", base.DEC, { [0] = "control message", [1] = "payload extension header" }, 0x80)
field("type", "uint8", "Type", base.DEC, TYPES, 0x7f)
field("reserved1", "uint8", "Reserved1", base.HEX, nil, 0xfe)
field("s", "uint8", "S", base.DEC, { [0] = "Shim6", [1] = "HIP" }, 0x01)
field("checksum", "uint16", "Checksum", base.HEX)
field("checksum__status", "uint8", "Checksum Status", base.DEC, CHECKSUM_STATUS)
field("r", "uint8", "R", base.DEC, nil, 0x80)
field("tag", "uint64", "Context Tag", base.HEX)
field("initiator_tag", "uint64", "Initiator Context Tag", base.HEX)
field("responder_tag", "uint64", "Responder Context Tag", base.HEX)
field("packet_tag", "uint64", "Packet Context Tag", base.HEX)
field("receiver_tag", "uint64", "Receiver Context Tag", base.HEX)
field("initiator_nonce", "uint32", "Initiator Nonce", base.HEX)
field("responder_nonce", "uint32", "Responder Nonce", base.HEX)
field("request_nonce", "uint32", "Request Nonce", base.HEX)
field("reserved2", "bytes", "Reserved2")
field("trailer", "bytes", "Octets behind the message (ignored)")
field("probe__precvd", "uint8", "Precvd", base.DEC, nil, 0xf0)
field("probe__psent", "uint8", "Psent", base.DEC, nil, 0x0f)
field("probe__sta", "uint8", "Sta", base.DEC, STATES, 0xc0)
field("probe__reserved2", "uint24", "Reserved2", base.HEX, nil, 0x3fffff)
field("probe__sent", "none", "Probe sent")
field("probe__received", "none", "Probe received")
field("probe__source", "ipv6", "Source")
field("probe__destination", "ipv6", "Destination")
field("probe__nonce", "uint32", "Nonce", base.HEX)
field("probe__data", "uint32", "Data", base.HEX)
field("error__code", "uint8", "Error Code", base.DEC, ERRORS, 0xfe)
field("error__pointer", "uint16", "Pointer", base.DEC)
field("error__packet", "bytes", "Packet in error")
field("error__source", "ipv6", "Source of the packet in error")
field("error__destination", "ipv6", "Destination of the packet in error")
field("option", "none", "Option")
field("option__type", "uint16", "Type", base.DEC, OPTIONS, 0xfffe)
field("option__critical", "uint16", "C", base.DEC, { [0] = "skip if unknown", [1] = "critical" }, 0x0001)
field("option__length", "uint16", "Length", base.DEC)
field("option__contents", "bytes", "Contents")
field("option__padding", "bytes", "Padding")
field("validator", "bytes", "Validator")
field("generation", "uint32", "Locator List Generation", base.HEX)
field("locator_count", "uint8", "Num Locators", base.DEC)
field("method", "uint8", "Verification Method", base.DEC, METHODS)
field("locator", "ipv6", "Locator")
field("preferences__element_len", "uint8", "Element Len", base.DEC)
field("preferences__element", "bytes", "Element")
field("preferences__broken", "uint8", "BROKEN", base.DEC, nil, 0x01)
field("preferences__transient", "uint8", "TRANSIENT", base.DEC, nil, 0x02)
field("preferences__priority", "uint8", "Priority", base.DEC)
field("preferences__weight", "uint8", "Weight", base.DEC)
field("pds", "bytes", "CGA Parameter Data Structure")
field("pds__modifier", "bytes", "Modifier")
field("pds__prefix", "bytes", "Subnet Prefix")
field("pds__collision_count", "uint8", "Collision Count", base.DEC)
field("pds__public_key", "bytes", "Public Key (DER)")
field("pds__extension", "none", "Extension")
field("pds__extension__type", "uint16", "Extension Type", base.HEX, { [0x12] = "Multi-Prefix" })
field("pds__extension__length", "uint16", "Extension Data Length", base.DEC)
field("pds__extension__data", "bytes", "Extension Data")
field("pds__multi_prefix__p", "uint32", "P", base.DEC, { [0] = "no public key", [1] = "public key" }, 0x80000000)
field("pds__multi_prefix__prefix", "bytes", "Prefix")
field("signature", "bytes", "Signature")
field("ulid__sender", "ipv6", "Sender ULID")
field("ulid__receiver", "ipv6", "Receiver ULID")
field("fii", "uint32", "Forked Instance Identifier", base.DEC)
field("keepalive_timeout", "uint16", "Keepalive Timeout (s)", base.DEC)
field("capabilities__always", "uint8", "Never send me the extension header", base.DEC, nil, 0x80)
field("capabilities__equivalent", "uint8", "Equivalent locators per ULID", base.DEC, nil, 0x40)
field("capabilities__transport", "uint8", "Transport demultiplexing", base.DEC, nil, 0x20)
field("precise_timeout", "uint32", "Keepalive Timeout (ms)", base.DEC)
field("flow__protocol", "uint8", "Protocol", base.DEC, IP_PROTOCOLS)
field("flow__sender_port", "uint16", "Port of the sender", base.DEC)
field("flow__receiver_port", "uint16", "Port of the receiver", base.DEC)
field("reserved", "bytes", "Reserved")
local fields = {}
for _, one in pairs(f) do fields[#fields + 1] = one end
shim6x.fields = fields


-- Everything of severity WARN or ERROR is what makes a Shim6 host drop or refuse the message.
local e = {}
local function finding(key, severity, group, text)
    e[key] = ProtoExpert.new("shim6x." .. key:gsub("__", "."), text, expert.group[group], expert.severity[severity])
end
finding("checksum__bad", "ERROR", "CHECKSUM", "Bad checksum")
finding("truncated", "ERROR", "MALFORMED", "Hdr Ext Len tells more octets than the packet has")
finding("too_short", "ERROR", "MALFORMED", "Shorter than this type of message can be")
finding("payload_header__length", "ERROR", "MALFORMED", "Payload extension header with Hdr Ext Len other than 0")
finding("option__overrun", "ERROR", "MALFORMED", "Option passes the end of the message")
finding("option__bad_length", "ERROR", "MALFORMED", "Wrong Length for this option")
finding("option__duplicate", "ERROR", "MALFORMED", "Option occurs twice")
finding("probe__bad_state", "ERROR", "MALFORMED", "Sta has no value 3")
finding("probe__no_sent", "ERROR", "MALFORMED", "Psent is 0: a Probe has to describe itself")
finding("probe__bad_count", "ERROR", "MALFORMED", "Psent and Precvd tell more than the message has")
finding("not_shim6", "WARN", "PROTOCOL", "S is 1: no Shim6 message")
finding("type__unknown", "WARN", "PROTOCOL", "Unknown type: the receiver answers with Error Code 0")
finding("address", "WARN", "PROTOCOL", "Source or destination is multicast or unspecified")
finding("validator__missing", "WARN", "PROTOCOL", "No Responder Validator")
finding("pds__missing", "WARN", "PROTOCOL", "Locator List without CGA Parameter Data Structure")
finding("signature__missing", "WARN", "PROTOCOL", "Locator with method CGA without CGA Signature")
finding("method__reserved", "WARN", "PROTOCOL", "Reserved Verification Method")
finding("option__critical_refused", "WARN", "PROTOCOL",
    "Critical option, unknown or not listed for this message: the receiver answers with Error Code 1")
finding("preferences__count", "WARN", "PROTOCOL", "Preferences do not fit the Element Len or the Locator List")
finding("pds__malformed", "WARN", "MALFORMED", "Not a CGA Parameter Data Structure")
finding("option__not_listed", "NOTE", "PROTOCOL", "Option unknown or not listed for this message: ignored")
finding("option__timeout_length", "NOTE", "PROTOCOL", "Keepalive Timeout of a Length other than 4: ignored")
finding("reserved__set", "NOTE", "PROTOCOL", "Reserved bits are set: ignored")
finding("nxt__other", "NOTE", "PROTOCOL", "Next Header is not 59: what follows is ignored")
local experts = {}
for _, one in pairs(e) do experts[#experts + 1] = one end
shim6x.experts = experts

-- Helpers --------------------------------------------------------------------------------------------------------

-- One packet. `quiet` is set where findings would be of no use: it is quoted in an Error message, or the capture cut it.
local Packet = {}
Packet.__index = Packet

function Packet:report(item, key, text)
    if self.quiet then return end
    if text then
        item:add_proto_expert_info(e[key], text)
    else
        item:add_proto_expert_info(e[key])
    end
end

function Packet:reserved(tree, key, range, mask)
    local item = tree:add(f[key], range)
    local value = mask and band(range:uint(), mask) or nil
    if value == nil then
        value = 0
        for i = 0, range:len() - 1 do value = value + range(i, 1):uint() end
    end
    if value ~= 0 then self:report(item, "reserved__set") end
end

local TAG_MASK = UInt64.new(0xffffffff, 0x7fff)

-- A context tag of 47 bits, and the bit above it, which is reserved unless `no_r`.
function Packet:tag(tree, key, offset, no_r)
    local range = self.tvb(offset, 6)
    if not no_r then self:reserved(tree, "r", self.tvb(offset, 1), 0x80) end
    local tag = range:uint64():band(TAG_MASK)
    local text = "0x" .. tag:tohex(12)
    tree:add(f[key], range, tag, nil):set_text(f_name[key] .. ": " .. text)
    tree:add(f.tag, range, tag):set_hidden()
    return text
end

local function checksum_is_good(tvb, len)
    local sum = 0
    for offset = 0, len - 2, 2 do sum = sum + tvb(offset, 2):uint() end
    while sum > 0xffff do sum = sum % 0x10000 + math.floor(sum / 0x10000) end
    return sum == 0xffff
end

local function is_bad_address(address)
    local text = tostring(address)
    return text == "::" or text:lower():sub(1, 2) == "ff" and text:find(":") == 5
end

-- Options --------------------------------------------------------------------------------------------------------

-- Each takes the packet, the option's tree, the range of its contents (nil if empty) and their length. `false`: the
-- Length cannot be.
local CONTENTS = {}

CONTENTS[1] = function(packet, tree, range)
    if range then tree:add(f.validator, range) end
end

CONTENTS[2] = function(packet, tree, range, length)
    if length < 5 then return false end
    local n = range(4, 1):uint()
    local at = 5 + n + (7 - n) % 8
    if n == 0 or length ~= at + 16 * n then return false end
    tree:add(f.generation, range(0, 4))
    tree:add(f.locator_count, range(4, 1))
    packet.locators = n
    packet.generation = range(0, 4):uint()
    for i = 0, n - 1 do
        local method = range(5 + i, 1):uint()
        local item = tree:add(f.method, range(5 + i, 1))
        if method == 0 or method == 255 then packet:report(item, "method__reserved") end
        if method == 2 then packet.has_cga = true end
        tree:add(f.locator, range(at + 16 * i, 16))
    end
end

CONTENTS[3] = function(packet, tree, range, length)
    if length < 5 then return false end
    local len = range(4, 1):uint()
    tree:add(f.generation, range(0, 4))
    local item = tree:add(f.preferences__element_len, range(4, 1))
    local octets = length - 5
    if len == 0 or octets % len ~= 0 then
        packet:report(item, "preferences__count")
        return
    end
    local count = octets / len
    packet.preferences = { item = item, count = count, generation = range(0, 4):uint() }
    for i = 0, count - 1 do
        local element = range(5 + len * i, len)
        local branch = tree:add(f.preferences__element, element)
        branch:add(f.preferences__broken, element(0, 1))
        branch:add(f.preferences__transient, element(0, 1))
        if len > 1 then branch:add(f.preferences__priority, element(1, 1)) end
        if len > 2 then branch:add(f.preferences__weight, element(2, 1)) end
    end
end

local function prefix_text(range)
    return string.format(" (%x:%x:%x:%x::/64)", range(0, 2):uint(), range(2, 2):uint(), range(4, 2):uint(),
        range(6, 2):uint())
end

-- Octets of the DER element at the start of `range`, header included; nil if it is none or does not fit.
local function der_len(range)
    if range:len() < 2 or range(0, 1):uint() ~= 0x30 then return nil end
    local first = range(1, 1):uint()
    local header, length = 2, first
    if first >= 0x80 then
        local octets = first - 0x80
        if octets == 0 or octets > 3 or range:len() < 2 + octets then return nil end
        header, length = 2 + octets, range(2, octets):uint()
    end
    if header + length > range:len() then return nil end
    return header + length
end

-- RFC 3972 section 3, extensions RFC 4581, Multi-Prefix RFC 5535 section 5.
CONTENTS[4] = function(packet, tree, range, length)
    if not range then
        packet:report(tree, "pds__malformed")
        return
    end
    local branch = tree:add(f.pds, range)
    local key_len = length > 25 and der_len(range(25)) or nil
    if not key_len then
        packet:report(branch, "pds__malformed")
        return
    end
    branch:add(f.pds__modifier, range(0, 16))
    branch:add(f.pds__prefix, range(16, 8)):append_text(prefix_text(range(16, 8)))
    branch:add(f.pds__collision_count, range(24, 1))
    branch:add(f.pds__public_key, range(25, key_len))
    local offset = 25 + key_len
    while offset < length do
        local left = length - offset
        local data_len = left >= 4 and range(offset + 2, 2):uint() or 0
        if left < 4 + data_len or left < 4 then
            packet:report(branch, "pds__malformed")
            return
        end
        local extension = branch:add(f.pds__extension, range(offset, 4 + data_len))
        extension:add(f.pds__extension__type, range(offset, 2))
        extension:add(f.pds__extension__length, range(offset + 2, 2))
        if range(offset, 2):uint() == 0x12 and data_len >= 4 and data_len % 8 == 4 then
            extension:add(f.pds__multi_prefix__p, range(offset + 4, 4))
            for at = offset + 8, offset + data_len - 4, 8 do
                extension:add(f.pds__multi_prefix__prefix, range(at, 8)):append_text(prefix_text(range(at, 8)))
            end
        elseif data_len > 0 then
            extension:add(f.pds__extension__data, range(offset + 4, data_len))
        end
        offset = offset + 4 + data_len
    end
end

CONTENTS[5] = function(packet, tree, range)
    if range then tree:add(f.signature, range) end
end

CONTENTS[6] = function(packet, tree, range, length)
    if length ~= 36 then return false end
    packet:reserved(tree, "reserved", range(0, 4))
    tree:add(f.ulid__sender, range(4, 16))
    tree:add(f.ulid__receiver, range(20, 16))
end

CONTENTS[7] = function(packet, tree, range, length)
    if length ~= 4 then return false end
    tree:add(f.fii, range)
end

CONTENTS[10] = function(packet, tree, range, length)
    if length ~= 4 then
        packet:report(tree, "option__timeout_length")
        return
    end
    packet:reserved(tree, "reserved", range(0, 2))
    tree:add(f.keepalive_timeout, range(2, 2))
end

-- draft-van-beijnum-shim6-suppress-header-00 section 3
CONTENTS[16384] = function(packet, tree, range, length)
    if length ~= 1 then
        packet:report(tree, "option__not_listed")
        return
    end
    tree:add(f.capabilities__always, range(0, 1))
    tree:add(f.capabilities__equivalent, range(0, 1))
    tree:add(f.capabilities__transport, range(0, 1))
end

CONTENTS[16385] = function(packet, tree, range, length)
    if length ~= 8 then
        packet:report(tree, "option__not_listed")
        return
    end
    tree:add(f.flow__protocol, range(0, 1))
    packet:reserved(tree, "reserved", range(1, 3))
    tree:add(f.flow__sender_port, range(4, 2))
    tree:add(f.flow__receiver_port, range(6, 2))
end

CONTENTS[16386] = function(packet, tree, range, length)
    if length ~= 4 then
        packet:report(tree, "option__not_listed")
        return
    end
    tree:add(f.precise_timeout, range(0, 4))
end

-- RFC 5533 section 5.15. `finish` is the end of the message; multiples of 8 both.
function Packet:options(tree, ty, offset, finish)
    local tvb, seen = self.tvb, {}
    while offset < finish do
        local length = tvb(offset + 2, 2):uint()
        local total = 8 * math.floor((4 + length + 7) / 8)
        local number = tvb(offset, 2):bitfield(0, 15)
        local critical = tvb(offset, 2):bitfield(15, 1) == 1
        local name = OPTIONS[number] or "Option"
        local left = math.min(total, finish - offset)
        local branch = tree:add(f.option, tvb(offset, left))
        branch:set_text(string.format("%s (%d), %d octets", name, number, length))
        branch:add(f.option__type, tvb(offset, 2))
        branch:add(f.option__critical, tvb(offset, 2))
        local length_item = branch:add(f.option__length, tvb(offset + 2, 2))
        if left < total then
            self:report(length_item, "option__overrun")
            return
        end
        local contents = length > 0 and tvb(offset + 4, length) or nil
        local listed = LISTED[ty][number]
        if critical and not listed then
            self:report(branch, "option__critical_refused")
        elseif not listed then
            self:report(branch, "option__not_listed")
        elseif seen[number] then
            self:report(branch, "option__duplicate")
        end
        local decode = CONTENTS[number]
        if not decode then
            if contents then branch:add(f.option__contents, contents) end
        elseif decode(self, branch, contents, length) == false then
            if contents then branch:add(f.option__contents, contents) end
            if listed then self:report(length_item, "option__bad_length") end
        end
        if total > 4 + length then branch:add(f.option__padding, tvb(offset + 4 + length, total - 4 - length)) end
        seen[number] = true
        offset = offset + total
    end
    self:check_options(tree, ty, seen)
end

-- Rules between options.
function Packet:check_options(tree, ty, seen)
    if NEEDS_VALIDATOR[ty] and not seen[1] then self:report(tree, "validator__missing") end
    if seen[2] and LISTED[ty][2] then
        -- An Update Request may rely on the PDS of an earlier message.
        if ty ~= 64 and not seen[4] then self:report(tree, "pds__missing") end
        if self.has_cga and not seen[5] then self:report(tree, "signature__missing") end
    end
    local preferences = self.preferences
    if preferences and self.locators and preferences.generation == self.generation
        and preferences.count ~= self.locators then
        self:report(preferences.item, "preferences__count")
    end
end

-- Messages -------------------------------------------------------------------------------------------------------

-- Each shows the fixed part behind the checksum, and returns the words for the Info column; Probe also where its
-- options start.
local BODY = {}

local function nonce(packet, tree, key, offset)
    tree:add(f[key], packet.tvb(offset, 4))
    return string.format("0x%08x", packet.tvb(offset, 4):uint())
end

BODY[1] = function(packet, tree)
    local tag = packet:tag(tree, "initiator_tag", 6)
    return "Tag=" .. tag .. " Nonce=" .. nonce(packet, tree, "initiator_nonce", 12)
end

BODY[2] = function(packet, tree)
    packet:reserved(tree, "reserved2", packet.tvb(6, 2))
    local initiator = nonce(packet, tree, "initiator_nonce", 8)
    return "Nonce=" .. initiator .. " Responder-Nonce=" .. nonce(packet, tree, "responder_nonce", 12)
end

BODY[3] = function(packet, tree)
    local text = BODY[1](packet, tree)
    text = text .. " Responder-Nonce=" .. nonce(packet, tree, "responder_nonce", 16)
    packet:reserved(tree, "reserved2", packet.tvb(20, 4))
    return text
end

BODY[4] = function(packet, tree)
    local tag = packet:tag(tree, "responder_tag", 6)
    return "Tag=" .. tag .. " Nonce=" .. nonce(packet, tree, "initiator_nonce", 12)
end

BODY[5] = function(packet, tree)
    local tag = packet:tag(tree, "packet_tag", 6)
    return "Packet-Tag=" .. tag .. " Responder-Nonce=" .. nonce(packet, tree, "responder_nonce", 12)
end

BODY[6] = function(packet, tree)
    local text = BODY[1](packet, tree)
    text = text .. " Responder-Nonce=" .. nonce(packet, tree, "responder_nonce", 16)
    -- 49 bits: six octets, and the bit above the tag.
    packet:reserved(tree, "reserved2", packet.tvb(20, 6))
    return text .. " Packet-Tag=" .. packet:tag(tree, "packet_tag", 26)
end

BODY[64] = function(packet, tree)
    local tag = packet:tag(tree, "receiver_tag", 6)
    return "Tag=" .. tag .. " Nonce=" .. nonce(packet, tree, "request_nonce", 12)
end
BODY[65] = BODY[64]

BODY[66] = function(packet, tree)
    local tag = packet:tag(tree, "receiver_tag", 6)
    packet:reserved(tree, "reserved2", packet.tvb(12, 4))
    return "Tag=" .. tag
end

BODY[67] = function(packet, tree, len)
    local tvb = packet.tvb
    local tag = packet:tag(tree, "receiver_tag", 6)
    local received, sent = tvb(12, 1):bitfield(0, 4), tvb(12, 1):bitfield(4, 4)
    local state = tvb(13, 1):bitfield(0, 2)
    local precvd = tree:add(f.probe__precvd, tvb(12, 1))
    local psent = tree:add(f.probe__psent, tvb(12, 1))
    local sta = tree:add(f.probe__sta, tvb(13, 1))
    packet:reserved(tree, "probe__reserved2", tvb(13, 3), 0x3fffff)
    if state == 3 then packet:report(sta, "probe__bad_state") end
    if sent == 0 then packet:report(psent, "probe__no_sent") end
    local finish = 16 + 40 * (sent + received)
    if finish > len then packet:report(precvd, "probe__bad_count") end
    for i = 0, sent + received - 1 do
        local offset = 16 + 40 * i
        if offset + 40 > len then break end
        local kind, number, words = f.probe__sent, i + 1, "Probe sent"
        if i >= sent then kind, number, words = f.probe__received, i - sent + 1, "Probe received" end
        local branch = tree:add(kind, tvb(offset, 40))
        branch:set_text(string.format("%s %d: %s to %s, nonce 0x%08x", words, number,
            tostring(tvb(offset, 16):ipv6()), tostring(tvb(offset + 16, 16):ipv6()), tvb(offset + 32, 4):uint()))
        branch:add(f.probe__source, tvb(offset, 16))
        branch:add(f.probe__destination, tvb(offset + 16, 16))
        branch:add(f.probe__nonce, tvb(offset + 32, 4))
        branch:add(f.probe__data, tvb(offset + 36, 4))
    end
    return string.format("Tag=%s %s Sent=%d Received=%d", tag, STATES[state], sent, received), finish
end

local dissect

BODY[68] = function(packet, tree, len, pinfo)
    local tvb = packet.tvb
    local code, pointer = tvb(3, 1):bitfield(0, 7), tvb(6, 2):uint()
    local pointer_item = tree:add(f.error__pointer, tvb(6, 2))
    local text = string.format("%s (%d), Pointer=%d", ERRORS[code] or "Code", code, pointer)
    if len <= 8 then return text end
    local quote = tvb(8, len - 8)
    local branch = tree:add(f.error__packet, quote)
    if quote:len() < 40 or quote(0, 1):bitfield(0, 4) ~= 6 then return text end
    branch:add(f.error__source, quote(8, 16))
    branch:add(f.error__destination, quote(24, 16))
    -- The quoted Payload Length tells padding from packet, unless the quote was cut.
    local finish = math.min(quote:len(), 40 + quote(4, 2):uint())
    local next_header, offset = quote(6, 1):uint(), 40
    while (next_header == 0 or next_header == 43 or next_header == 60) and offset + 8 <= finish do
        next_header, offset = quote(offset, 1):uint(), offset + 8 * (quote(offset + 1, 1):uint() + 1)
    end
    if next_header ~= 140 or offset >= finish then return text end
    if pointer >= offset then
        pointer_item:append_text(string.format(" (octet %d from the shim header on)", pointer - offset))
    end
    local about = dissect(quote(offset, finish - offset):tvb(), pinfo, branch, true)
    return text .. ", about: " .. about
end

-- Show the control message at the start of `packet.tvb`; returns the words for the Info column.
function Packet:control(tree, pinfo)
    local tvb, available = self.tvb, self.tvb:len()
    local ty, len = tvb(2, 1):bitfield(1, 7), 8 * (tvb(1, 1):uint() + 1)
    local name = TYPES[ty] or string.format("Type %d", ty)
    local nxt = tree:add(f.nxt, tvb(0, 1))
    if tvb(0, 1):uint() ~= 59 then self:report(nxt, "nxt__other") end
    local len_item = tree:add(f.len, tvb(1, 1)):append_text(string.format(" (%d octets)", len))
    tree:add(f.p, tvb(2, 1))
    local type_item = tree:add(f.type, tvb(2, 1))
    if ty == 68 then
        tree:add(f.error__code, tvb(3, 1))
    else
        self:reserved(tree, "reserved1", tvb(3, 1), 0xfe)
    end
    local s_item = tree:add(f.s, tvb(3, 1))
    if tvb(3, 1):bitfield(7, 1) == 1 then
        self:report(s_item, "not_shim6")
        return name .. " (not Shim6)"
    end
    local checksum = tree:add(f.checksum, tvb(4, 2))
    local complete = len <= available
    if not complete then self:report(len_item, "truncated") end
    local status = 2
    if complete then status = checksum_is_good(tvb, len) and 1 or 0 end
    tree:add(f.checksum__status, tvb(4, 2), status):set_generated()
    if status == 0 then self:report(checksum, "checksum__bad") end
    local fixed = FIXED[ty]
    if not fixed then
        self:report(type_item, "type__unknown")
        return name
    end
    -- Error: 8 octets, and at least 8 of the packet in error.
    if len < math.max(fixed, 16) then self:report(len_item, "too_short") end
    len = math.min(len, available)
    if len < fixed then return name end
    local text, options = BODY[ty](self, tree, len, pinfo)
    if ty ~= 68 and complete then self:options(tree, ty, options or fixed, len) end
    if complete and available > len then tree:add(f.trailer, tvb(len)) end
    return name .. " " .. text
end

-- Show the packet of protocol 140 in `tvb`; returns the words for the Info column, and what follows a payload extension
-- header (its protocol and octets).
function dissect(tvb, pinfo, tree, quoted)
    local packet = setmetatable({ tvb = tvb, quiet = quoted or tvb:len() < tvb:reported_len() }, Packet)
    local branch = tree:add(shim6x, tvb())
    if tvb:len() < 8 then
        packet:report(branch, "truncated")
        return "too short"
    end
    if not quoted and (is_bad_address(pinfo.net_src) or is_bad_address(pinfo.net_dst)) then
        packet:report(branch, "address")
    end
    if tvb(2, 1):bitfield(0, 1) == 0 then
        local text = packet:control(branch, pinfo)
        branch:append_text(": " .. text)
        return text
    end
    branch:set_len(8)
    branch:add(f.nxt, tvb(0, 1))
    local len_item = branch:add(f.len, tvb(1, 1))
    branch:add(f.p, tvb(2, 1))
    local text = "Payload Tag=" .. packet:tag(branch, "receiver_tag", 2, true)
    branch:append_text(": " .. text)
    if tvb(1, 1):uint() ~= 0 then
        packet:report(len_item, "payload_header__length")
        return text
    end
    branch:add(tvb(0, 8), "Checksums of what follows are over the ULIDs, not over the addresses above"):set_generated()
    return text, tvb(0, 1):uint(), tvb:len() > 8 and tvb(8) or nil
end

local ip_proto = DissectorTable.get("ip.proto")
local built_in = ip_proto:get_dissector(140)
if built_in and tostring(built_in):lower() == "shim6x" then built_in = nil end

function shim6x.dissector(tvb, pinfo, tree)
    pinfo.cols.protocol = "Shim6"
    local text, next_header, rest = dissect(tvb, pinfo, tree, false)
    pinfo.cols.info = text
    if not rest or next_header == 59 then return tvb:len() end
    -- pcall: what is malformed further up is marked there, and is no error of this script.
    if next_header == 44 and built_in then
        -- Reassembly counts the octets of all headers in a place that Lua cannot reach; Wireshark's own dissector
        -- does that, and the payload extension header is what it gets right.
        pcall(built_in.call, built_in, tvb, pinfo, tree)
    else
        local rest_tvb = rest:tvb()
        local ok, dissected = pcall(ip_proto.try, ip_proto, next_header, rest_tvb, pinfo, tree)
        if ok and dissected == 0 then Dissector.get("data"):call(rest_tvb, pinfo, tree) end
    end
    return tvb:len()
end

-- The IPv6 dissector looks up headers that follow it in this table, 140 among them.
ip_proto:set(140, shim6x)

-- SPDX-License-Identifier: GPL-2.0-only
--
-- Wireshark and tshark: the fields of captures that vnhi's tap makes (link type USER0; the layout is described in src/tap.rs).
--
--   tshark -X lua_script:tests/vnhi/usb4-frame.lua -r cable0.pcapng
--   tshark -X lua_script:tests/vnhi/usb4-frame.lua -r cable0.pcapng -Y 'usb4.tbnet' -T fields -e usb4.tbnet.size
--
-- Data frames with PDFs 1 and 2 are taken for those of thunderbolt_net, if their header makes sense: 12 bytes, then an Ethernet frame or a part of one.
-- Control packets get their route and type; what they carry stays bytes.

local usb4 = Proto("usb4", "USB4 frame on a virtual cable")

local fates = {
  [0] = "delivered",
  [1] = "lost on the cable",
  [2] = "dropped: no receive buffer",
  [3] = "dropped: no path, no ring or no cable",
  [4] = "dropped: PDF not taken by the receiver",
}

local pdfs = {
  [1] = "READ (or data)",
  [2] = "WRITE (or data)",
  [3] = "ERROR (or data)",
  [5] = "EVENT",
  [6] = "XDOMAIN REQUEST",
  [7] = "XDOMAIN RESPONSE",
}

local f = usb4.fields
f.version = ProtoField.uint8("usb4.version", "Version of this header")
f.flags = ProtoField.uint8("usb4.flags", "Flags", base.HEX)
f.crc_error = ProtoField.bool("usb4.crc_error", "CRC error", 8, nil, 0x01)
f.control = ProtoField.bool("usb4.control", "Control packet", 8, nil, 0x02)
f.hop = ProtoField.uint16("usb4.hop", "Hop id on the cable")
f.sof = ProtoField.uint8("usb4.sof", "PDF at the start")
f.eof = ProtoField.uint8("usb4.eof", "PDF at the end")
f.fate = ProtoField.uint8("usb4.fate", "Fate", base.DEC, fates)
f.length = ProtoField.uint32("usb4.length", "Payload bytes")
f.payload = ProtoField.bytes("usb4.payload", "Payload")
f.route = ProtoField.uint64("usb4.route", "Route", base.HEX)
f.crc = ProtoField.uint32("usb4.crc", "CRC32C", base.HEX)
f.tbnet = ProtoField.none("usb4.tbnet", "thunderbolt_net")
f.tbnet_size = ProtoField.uint32("usb4.tbnet.size", "Bytes of the packet in this frame")
f.tbnet_index = ProtoField.uint16("usb4.tbnet.index", "Frame index")
f.tbnet_id = ProtoField.uint16("usb4.tbnet.id", "Frame id")
f.tbnet_count = ProtoField.uint32("usb4.tbnet.count", "Frames of this packet")

local data = Dissector.get("data")

local HEADER = 8
local TBNET = 12

-- The header of thunderbolt_net is little endian, and its numbers have narrow limits; anything else is not it.
local function is_tbnet(payload)
  if payload:len() < TBNET then return false end
  local size = payload(0, 4):le_uint()
  local index = payload(4, 2):le_uint()
  local count = payload(8, 4):le_uint()
  return size > 0 and size <= 4096 - TBNET and size <= payload:len() - TBNET
    and count > 0 and count <= 256 and index < count
end

local function dissect_tbnet(payload, pinfo, tree, root)
  local node = tree:add(f.tbnet, payload(0, TBNET))
  local size = payload(0, 4):le_uint()
  local index = payload(4, 2):le_uint()
  local count = payload(8, 4):le_uint()
  node:add_le(f.tbnet_size, payload(0, 4))
  node:add_le(f.tbnet_index, payload(4, 2))
  node:add_le(f.tbnet_id, payload(6, 2))
  node:add_le(f.tbnet_count, payload(8, 4))
  local packet = payload(TBNET, size)
  if count == 1 then
    -- An Ethernet frame, as the driver hands it over.
    Dissector.get("eth_withoutfcs"):call(packet:tvb(), pinfo, root)
  else
    pinfo.cols.info:append(string.format(", thunderbolt_net %d of %d, %d bytes", index + 1, count, size))
    data:call(packet:tvb(), pinfo, root)
  end
end

local function dissect_control(payload, pinfo, tree)
  if payload:len() < 12 then return end
  tree:add(f.route, payload(0, 8))
  tree:add(f.crc, payload(payload:len() - 4, 4))
end

function usb4.dissector(buffer, pinfo, root)
  if buffer:len() < HEADER or buffer(0, 1):uint() ~= 1 then return 0 end
  pinfo.cols.protocol = "USB4"
  local tree = root:add(usb4, buffer(0, HEADER))
  tree:add(f.version, buffer(0, 1))
  local flags = tree:add(f.flags, buffer(1, 1))
  flags:add(f.crc_error, buffer(1, 1))
  flags:add(f.control, buffer(1, 1))
  tree:add(f.hop, buffer(2, 2))
  tree:add(f.sof, buffer(4, 1))
  tree:add(f.eof, buffer(5, 1))
  tree:add(f.fate, buffer(6, 1))
  local payload = buffer(HEADER)
  tree:add(f.length, payload:len()):set_generated()

  local hop, sof, eof = buffer(2, 2):uint(), buffer(4, 1):uint(), buffer(5, 1):uint()
  local fate = buffer(6, 1):uint()
  local control = bit.band(buffer(1, 1):uint(), 2) ~= 0
  local what = control and ("control " .. (pdfs[eof] or "type " .. eof)) or string.format("hop %d, PDF %d/%d", hop, sof, eof)
  pinfo.cols.info = string.format("%s, %d bytes", what, payload:len())
  if bit.band(buffer(1, 1):uint(), 1) ~= 0 then pinfo.cols.info:append(", CRC error") end
  if fate ~= 0 then pinfo.cols.info:append(", " .. (fates[fate] or "fate " .. fate)) end

  if payload:len() == 0 then return buffer:len() end
  tree:add(f.payload, payload)
  if control then
    dissect_control(payload, pinfo, tree)
  elseif sof == 1 and eof == 2 and is_tbnet(payload) then
    dissect_tbnet(payload, pinfo, tree, root)
  end
  return buffer:len()
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, usb4)

#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Decodes captures with tshark (4.4) into the .csv files the tests compare with: an oracle that
# shares no code with us. Usage: decode.sh CAPTURE.pcap...
for capture in "$@"; do
    tshark -r "$capture" -T fields -E header=y -E separator=, -E occurrence=f \
        --disable-protocol rpcordma \
        -e frame.number \
        -e frame.len \
        -e ip.src \
        -e ip.dst \
        -e ip.id \
        -e ip.ttl \
        -e ip.dsfield \
        -e ipv6.src \
        -e ipv6.dst \
        -e ipv6.tclass \
        -e ipv6.flow \
        -e ipv6.hlim \
        -e udp.srcport \
        -e infiniband.bth.opcode \
        -e infiniband.bth.se \
        -e infiniband.bth.m \
        -e infiniband.bth.padcnt \
        -e infiniband.bth.p_key \
        -e infiniband.bth.destqp \
        -e infiniband.bth.a \
        -e infiniband.bth.psn \
        -e infiniband.reth.va \
        -e infiniband.reth.r_key \
        -e infiniband.reth.dmalen \
        -e infiniband.aeth.syndrome \
        -e infiniband.aeth.msn \
        -e infiniband.deth.q_key \
        -e infiniband.deth.srcqp \
        -e infiniband.atomiceth.swapdt \
        -e infiniband.atomiceth.cmpdt \
        -e infiniband.atomicacketh.origremdt \
        -e infiniband.immdt \
        -e infiniband.ieth \
        -e infiniband.feth.sel \
        -e infiniband.feth.plt \
        -e infiniband.invariant.crc \
        > "${capture%.pcap}.csv"
done

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Disassembles object files of the library: a file named *_avx512.o must use zmm registers, *_avx2.o ymm
# but no zmm, mask or upper 16 registers, and every other one must be free of AVX altogether.
bad=0
for object in "$@"; do
    case $object in
    *_avx512.o) wanted='%zmm' barred='^$' ;;
    *_avx2.o | *_avxvnni.o) wanted='%ymm' barred='%zmm|%k[0-7]|%[xy]mm(1[6-9]|[23][0-9])' ;;
    *) wanted='' barred='\sv[a-z0-9]+\s.*%[xyz]mm' ;;
    esac
    code=$(objdump -d --no-show-raw-insn "$object")
    wrong=$(echo "$code" | grep -E -m 3 "$barred")
    if [ -n "$wrong" ]; then
        printf '%s: beyond its tier:\n%s\n' "$object" "$wrong"
        bad=1
    fi
    if ! echo "$code" | grep -q -e "$wanted"; then
        echo "$object: uses no ${wanted#%} register"
        bad=1
    fi
done
[ $bad = 0 ] && echo "instructions: $# object files, each within its tier"
exit $bad

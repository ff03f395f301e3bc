# SPDX-License-Identifier: MIT
# Completion of byre's commands and options for bash. The program itself says
# what there is.

_byre()
{
	local current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} words

	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		words="$(byre help --commands 2>/dev/null) help --help --version"
	elif [ "$COMP_CWORD" -eq 2 ] && [ "$command" = cache ]; then
		words="$(byre help --commands cache 2>/dev/null) --help"
	elif [ "${current#-}" != "$current" ]; then
		[ "$command" = cache ] && command="cache ${COMP_WORDS[2]}"
		# shellcheck disable=SC2086
		words=$(byre help --options $command 2>/dev/null |
			awk -F '\t' '{ print $1; print $2 }')
	else
		return
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o default -F _byre byre

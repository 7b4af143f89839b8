# bash completion for muxctl. Commands and options are those that its own --help
# tells, so that they are always the ones of the muxctl that is completed.

# MUXCTL [COMMAND]: a line "LETTER NAME VALUE" of each option; - is none
_muxctl_options()
{
	"$@" --help 2>/dev/null |
		sed -En 's/^  (-.|  )[, ] (--[a-z-]+)( ([A-Z][^ ]*))?( .*)?$/\1 \2 \4/p' |
		sed -E 's/^   /- /; s/ $/ -/'
}

_muxctl_commands()
{
	"$1" --help 2>/dev/null | sed -En 's/^  ([a-z]+) .*/\1/p'
	echo help
}

# Whether the next word is the value of this one; then the option's name is in $option.
_muxctl_takes_value()
{
	local word=$1 letter name value i

	option=
	for ((i = 1; i < ${#word}; i++)); do
		while read -r letter name value; do
			case $word in
			--*) [ "$word" = "$name" ] || continue ;;
			*) [ "-${word:i:1}" = "$letter" ] || continue ;;
			esac
			[ "$value" = - ] && continue 2
			option=$name
			# what follows the letter in the same word is its value
			[[ $word = --* ]] || ((i == ${#word} - 1))
			return
		done <<<"$options"
	done
	return 1
}

# What stands for itself in the place of the option's value.
_muxctl_values()
{
	local json

	case $1 in
	--socket)
		compopt -o filenames
		compgen -f -- "$cur"
		;;
	--upstream)
		json=$("${at[@]}" --json status 2>/dev/null)
		compgen -W "$(sed -n 's/^ *"name": "\(.*\)",\{0,1\}$/\1/p' <<<"$json")" -- "$cur"
		;;
	--property)
		compopt -o nospace
		compgen -S = -W 'content-type content-encoding delivery-mode priority correlation-id reply-to
			expiration message-id timestamp type user-id app-id cluster-id' -- "$cur"
		;;
	esac
}

# The command's operands, by the first word of its synopsis and how many there are.
_muxctl_operands()
{
	local synopsis

	read -r _ _ _ synopsis _ <<<"$("$muxctl" "$command" --help 2>/dev/null)"
	case $command-${#operands[@]}-$synopsis-${operands[0]-} in
	help-0-*) _muxctl_commands "$muxctl" ;;
	*-0-queue*) echo queue exchange ;;
	*-0-SESSION-*) "${at[@]}" --json sessions 2>/dev/null | sed -n 's/^ *"id": \([0-9]*\),\{0,1\}$/\1/p' ;;
	*-0-LEVEL-*) echo error warning notice info debug ;;
	declare-2-*-exchange) echo direct fanout topic headers ;;
	esac
}

_muxctl()
{
	local muxctl=${1:-muxctl} cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	local command= option= options word i
	local operands=() at=("$muxctl" --timeout 1s)

	COMPREPLY=()
	options=$(_muxctl_options "$muxctl")
	# --name=value comes as three words
	[ "$cur" = = ] && cur=
	[ "$prev" = = ] && prev=${COMP_WORDS[COMP_CWORD-2]}
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		--)
			# What consume runs: as any command line.
			[ "$command" = consume ] && COMPREPLY=($(compgen -c -- "$cur") $(compgen -f -- "$cur"))
			return
			;;
		=) ;;
		-?*)
			_muxctl_takes_value "$word" || continue
			[ "${COMP_WORDS[i+1]}" = = ] && ((i++))
			((i++))
			[ "$option" = --socket ] && ((i < COMP_CWORD)) && at+=(-s "${COMP_WORDS[i]}")
			;;
		*)
			if [ -z "$command" ]; then
				command=$word
				options=$(_muxctl_options "$muxctl" "$command")
			else
				operands+=("$word")
			fi
			;;
		esac
	done
	if [[ $prev = -?* ]] && _muxctl_takes_value "$prev"; then
		COMPREPLY=($(_muxctl_values "$option"))
	elif [[ $cur = -* ]]; then
		COMPREPLY=($(compgen -W "$(sed 's/^[^ ]* //; s/ .*//' <<<"$options") $([ "$command" != consume ] || echo --)" -- "$cur"))
	elif [ -z "$command" ]; then
		COMPREPLY=($(compgen -W "$(_muxctl_commands "$muxctl")" -- "$cur"))
	else
		COMPREPLY=($(compgen -W "$(_muxctl_operands)" -- "$cur"))
	fi
}

complete -F _muxctl muxctl

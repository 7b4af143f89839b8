#!/usr/bin/zsh -f
# What zsh offers at the end of each line of stdin:
#
#   complete.zsh FOLDER
#
# FOLDER has the completion functions. For each line the offers, one a line, then
# an empty line. Completion works in an interactive shell only: one in a
# terminal of its own, in which compadd writes down what it is given.
zmodload zsh/zpty || exit 1
answers=$(mktemp -d) || exit 1
trap 'rm -rf $answers' EXIT
mkfifo $answers/fifo
export COMPLETE_ANSWERS=$answers/fifo

cat >$answers/start <<'INNER'
PS1= PROMPT= zle_highlight=() LISTMAX=0
unsetopt beep
fpath=($1 $fpath)
autoload -Uz compinit
compinit -D -u
compadd() {
	local -a offers
	case " $* " in
	*" "-[OAD]" "*) ;; # only asks which would match
	*)
		builtin compadd -A offers "$@"
		(( ! $#offers )) || print -rl -- $offers >&$answers_fd
		;;
	esac
	builtin compadd "$@"
}
complete_end() {
	print -r -- >&$answers_fd
	print -r -- >&$answers_fd
	BUFFER=
}
zle -N complete_end
bindkey '^X^E' complete_end
exec {answers_fd}>$COMPLETE_ANSWERS
INNER
zpty asked zsh -f -i
zpty -w asked ". $answers/start ${(q)1}"
exec {in}<$answers/fifo
while IFS= read -r line; do
	# the line, a tab, and the mark behind all offers: two empty lines
	zpty -n -w asked "$line"$'\t'$'\C-X\C-E'
	seen=()
	while IFS= read -t 20 -r -u $in offer; do
		[[ -n $offer || $#seen -eq 0 || -n $seen[-1] ]] || break
		seen+=("$offer")
	done
	print -rl -- ${seen:#}
	print
	# what it shows is read away, or it would be held up when its terminal is full
	while zpty -r -t asked shown; do :; done
done
zpty -d asked
